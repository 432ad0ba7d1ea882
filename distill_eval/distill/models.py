"""Load the student in float32 and its teachers in what they run in, and see that they speak of the same tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from distill_eval import checkpoint
from distill_eval.errors import ModelError, UsageError, boundary, require
from distill_eval.schema.model import ModelRef


class Located(NamedTuple):
    """A model's folder and what it needs before its weights."""

    ref: ModelRef
    folder: Path
    config: Any
    tokenizer: Any


def locate(ref: ModelRef, *, role: str) -> Located:
    """Find a model, with its config and tokenizer.

    Raises:
        UsageError: a revision of a folder was asked for.
        ModelError: it cannot be had, is an encoder-decoder, or has no tokenizer.
    """
    folder = checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role=role)
    with boundary(ModelError, f"cannot read the {role} {str(ref)!r}"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{role} {str(ref)!r} is an encoder-decoder: expected a causal language model or an encoder")
    return Located(ref, folder, config, tokenizer)


def require_language_model(model: Located) -> None:
    """Refuse a classifier where there are no labels.

    Raises:
        UsageError: it is one.
    """
    name = (model.config.architectures or [""])[0]
    require(
        not name.endswith("ForSequenceClassification"),
        f"{model.ref} is a {name}: expected a causal language model. To train a classifier with `distill-eval "
        "distill`, name the column of the labels, e.g. --label-column label",
    )


def check_vocabulary(student: Located, teacher: Located) -> None:
    """Refuse, before any training, a teacher that speaks of other tokens.

    Raises:
        UsageError: the tokenizers differ, or the teacher's logits do not cover the student's vocabulary.
    """
    ours, theirs = student.tokenizer.get_vocab(), teacher.tokenizer.get_vocab()
    if ours != theirs:
        apart = [token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token)]
        raise UsageError(
            f"{teacher.ref} and {student.ref} have different tokenizers ({len(theirs):,} and {len(ours):,} tokens; "
            f"{len(apart):,} differ, e.g. {min(apart)!r}). Take a student of the teacher's family, make one with "
            "`distill-eval prepare`, train on the teacher's answers, or train across tokenizers with --loss uld"
        )
    size, needed = (model.config.get_text_config().vocab_size for model in (teacher, student))
    require(
        size >= needed,
        f"{teacher.ref} has {size:,} logits, fewer than the {needed:,} of {student.ref}: prepare the student from it",
    )


def check_size(student: Located, teacher: Located, auto: Any = AutoModelForCausalLM) -> None:
    """Refuse a student that is its own teacher, or larger.

    Raises:
        UsageError: it is.
    """
    require(
        student.folder.resolve() != teacher.folder.resolve(),
        f"--teacher {teacher.ref} is the student's own folder: there is nothing to learn",
    )
    ours, theirs = num_parameters(student.config, auto), num_parameters(teacher.config, auto)
    require(
        ours <= theirs,
        f"--student {student.ref} has {ours:,} parameters, more than the {theirs:,} of --teacher {teacher.ref}",
    )


def num_parameters(config: Any, auto: Any = AutoModelForCausalLM) -> int:
    """Of a model with this config, as `auto` makes it; shared ones counted once."""
    with torch.device("meta"):
        return int(auto.from_config(config).num_parameters())


def weights_digest(folder: Path) -> str:
    """SHA-256 over the config and weight files, names and content."""
    return checkpoint.content_digest([folder / "config.json", *checkpoint.weight_files(folder)])


def vocabulary_digest(tokenizer: Any) -> str:
    """SHA-256 over the tokens and their numbers."""
    return hashlib.sha256(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()).hexdigest()


def load_student(student: Located, device: str) -> Any:
    """The student to train: float32 weights, whatever its files hold."""
    model = load_strictly(student, AutoModelForCausalLM, dtype=torch.float32)
    return model.to(device)


def load_teacher(teacher: Located, dtype: str, device: str, auto: Any = AutoModelForCausalLM) -> Any:
    """The teacher, frozen, in evaluation mode.

    Args:
        teacher: Where it is.
        dtype: `auto` is that of its files; `int8` and `nf4` quantize it with bitsandbytes.
        device: `cpu` or `cuda`.
        auto: The class of transformers that loads it.

    Raises:
        ModelError: it cannot be loaded, or bitsandbytes is missing.
    """
    if dtype in ("int8", "nf4"):
        require_bitsandbytes()
        config = BitsAndBytesConfig(
            load_in_8bit=dtype == "int8", load_in_4bit=dtype == "nf4", bnb_4bit_quant_type="nf4"
        )
        model = load_strictly(teacher, auto, quantization_config=config, device_map=device)
    else:
        model = load_strictly(teacher, auto, dtype=dtype if dtype == "auto" else getattr(torch, dtype)).to(device)
    return model.eval().requires_grad_(False)


def require_bitsandbytes() -> None:
    """Refuse a quantized teacher where bitsandbytes is not installed."""
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UsageError("--teacher-dtype int8 and nf4 need bitsandbytes. Type: pip install 'distill-eval[quantize]'")


def load_strictly(model: Located, auto: Any, *, may_lack: Callable[[str], bool] | None = None, **options: Any) -> Any:
    """Load a model whose weights are all there.

    Args:
        model: Where it is.
        auto: The class of transformers that loads it.
        may_lack: Whether a weight of this name may be missing, and is then drawn at random.
        options: Of `from_pretrained`.

    Raises:
        ModelError: it cannot be loaded, or another weight is missing.
    """
    what = f"cannot load {model.ref} from {model.folder}"
    with boundary(ModelError, what):
        loaded, info = auto.from_pretrained(
            model.folder, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
        )
    missing = sorted(name for name in info["missing_keys"] if may_lack is None or not may_lack(name))
    if missing:
        raise ModelError(f"{what}: the weight files lack {', '.join(missing[:3])}")
    return loaded
