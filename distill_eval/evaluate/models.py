"""From a model reference to a folder, its digests and facts, and the loaded model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval import checkpoint
from distill_eval import engine as engines
from distill_eval.engine import Engine, EngineChoice
from distill_eval.errors import ModelError, UsageError, boundary
from distill_eval.schema.model import ModelRef

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "*.model",
    "chat_template.j*",
)
CONFIG_FILES = ("config.json", "generation_config.json")
CODE_FILES = ("*.py",)
AS_EXPORTED = "the types of its graph"
DTYPES = ("auto", "float32", "bfloat16", "float16")


class ModelFolder(NamedTuple):
    """A model on disk, identified by its content."""

    ref: ModelRef
    path: Path
    weights_digest: str
    """SHA-256 over config and weight files: name and content, not the path."""
    tokenizer_digest: str
    engine: Engine = "hf"
    """What runs it."""


def locate(
    ref: ModelRef, file_digest: Callable[[Path], str], *, trust_remote_code: bool = False, engine: EngineChoice = "auto"
) -> ModelFolder:
    """Find the model's folder, downloading it from the Hub if needed, and refuse what cannot be trusted or scored.

    Args:
        ref: A folder, or a Hub name with an optional revision.
        file_digest: SHA-256 of a file's content (the store remembers them).
        trust_remote_code: The model's own Python files may be fetched and run; they are part of its content then.
        engine: What shall run it; `auto` is the folder's own.

    Raises:
        UsageError: a revision of a folder was asked for, or the engine does not run such a folder.
        ModelError: there is no such model or revision, or it holds no weights that are read here, or not all.
    """
    code = CODE_FILES if trust_remote_code else ()
    own = engines.guess(Path(ref.name).expanduser())
    chosen = own if engine == "auto" else engine
    _require_its_engine(ref, own, chosen)
    if chosen == "onnx":
        folder = checkpoint.locate(ref, (), role="model")
        model = [folder / engines.GENAI_CONFIG, *engines.graph_files(folder)]
    else:
        folder = checkpoint.locate_with_weights(ref, (*checkpoint.SMALL_FILES, *code), role="model")
        if not (folder / "config.json").is_file():
            raise ModelError(f"{ref}: {folder} has no config.json, so it is not a Hugging Face model folder")
        _require_known_code(ref, folder, trust_remote_code=trust_remote_code)
        model = [path for name in (*CONFIG_FILES, *code) for path in folder.glob(name)]
        model += checkpoint.weight_files(folder)
    tokenizer = sorted({path for name in TOKENIZER_FILES for path in folder.glob(name)})
    if not tokenizer:
        raise ModelError(
            f"{ref}: no tokenizer in {folder}; expected tokenizer.json. Copy the teacher's tokenizer files there"
        )
    weights_digest = checkpoint.content_digest(model, file_digest)
    return ModelFolder(ref, folder, weights_digest, checkpoint.content_digest(tokenizer, file_digest), chosen)


def _require_its_engine(ref: ModelRef, own: Engine, chosen: Engine) -> None:
    """Only ONNX Runtime GenAI runs its own folders, and it runs no others."""
    if own == "onnx" and chosen != "onnx":
        raise UsageError(f"{ref} is an ONNX folder, which {chosen} does not run: take --engine onnx or auto for it")
    if chosen == "onnx" and own != "onnx":
        raise UsageError(
            f"{ref} has no {engines.GENAI_CONFIG}, so --engine onnx cannot run it: take --engine hf, or make an ONNX "
            "folder of it with distill-eval export"
        )


def _require_known_code(ref: ModelRef, folder: Path, *, trust_remote_code: bool) -> None:
    """Refuse a model that only its own Python code can load, unless that code may run."""
    with boundary(ModelError, f"{ref}: {folder / 'config.json'} cannot be read"):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if trust_remote_code or not config.get("auto_map"):
        return
    from transformers import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"{ref} is a {config.get('model_type')!r}, which only Python code from its own repository can load. "
            "Read that code; where you trust it, add --trust-remote-code"
        )


def resolve_dtype(folder: ModelFolder, dtype: str) -> str:
    """The dtype in which the model will run: `auto` is what its config says (float32 when it says nothing).

    An ONNX graph has the types that it was exported with, whatever is asked.
    """
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    if folder.engine == "onnx":
        return AS_EXPORTED
    if dtype != "auto":
        return dtype
    config = json.loads((folder.path / "config.json").read_text())
    found = config.get("dtype") or config.get("torch_dtype") or config.get("text_config", {}).get("dtype")
    return str(found or "float32").removeprefix("torch.")


def load(folder: ModelFolder, *, dtype: str, device: str, trust_remote_code: bool) -> tuple[Any, Any]:
    """The transformers model (in evaluation mode, on the device) and its tokenizer.

    Raises:
        ModelError: transformers cannot load it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    what = f"cannot load {folder.ref} from {folder.path}"
    with boundary(ModelError, what):
        config = AutoConfig.from_pretrained(folder.path, trust_remote_code=trust_remote_code)
        kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, info = kind.from_pretrained(
            folder.path,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=trust_remote_code)
    if info["missing_keys"]:
        raise ModelError(
            f"{what}: the weight files lack {', '.join(sorted(info['missing_keys'])[:3])}; is the folder complete?"
        )
    return model.to(device).eval(), tokenizer
