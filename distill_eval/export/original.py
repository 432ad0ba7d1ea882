"""The model to export: its files, what it is, and the model itself in float32, against which the export is held."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from distill_eval import checkpoint
from distill_eval.engine.hf import quantization_method
from distill_eval.errors import ModelError, boundary
from distill_eval.schema.export import Kind
from distill_eval.schema.model import ModelRef


class Original(NamedTuple):
    """What is known without its weights."""

    ref: ModelRef
    config: Any
    """The transformers config."""
    architecture: str
    kind: Kind
    tokenizer: Any


def read_original(ref: ModelRef) -> Original:
    """Find a model and read everything but its weights.

    Raises:
        UsageError: a revision of a local folder was asked for.
        ModelError: it cannot be had, is quantized, or is neither a causal language model nor a sequence classifier.
    """
    folder = checkpoint.locate(ref, checkpoint.SMALL_FILES, role="model")
    with boundary(ModelError, f"the config of {str(ref)!r} cannot be read (code from a repository is never run)"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    causal: Any = getattr(MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None), "__name__", None)
    name = (config.architectures or [causal or type(config).__name__])[0]
    method = quantization_method(config)
    if method is not None:
        raise ModelError(
            f"{str(ref)!r} is quantized already ({method}): name the model that it was made from, and let --precision "
            "int8 or int4 quantize it"
        )
    is_classifier = name.endswith("ForSequenceClassification")
    if not is_classifier and (name != causal or getattr(config, "is_encoder_decoder", False)):
        raise ModelError(
            f"{str(ref)!r} is a {name}: expected a causal language model without an encoder, or a sequence classifier"
        )
    with boundary(ModelError, f"the tokenizer of {str(ref)!r} cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return Original(ref, config, name, "classifier" if is_classifier else "causal", tokenizer)


def copy_small_files(source: Path, built: Path) -> None:
    """Copy everything of the original folder that is no weight.

    Raises:
        OSError: a file cannot be read or written.
    """
    checkpoint.copy_unchanged(source, built)
    # names of the labels; a tokenizer's class may hang on it, too
    (built / "config.json").write_bytes((source / "config.json").read_bytes())


def load_classifier(ref: ModelRef, folder: Path) -> Any:
    """The classifier in float32; one of which a weight is missing is refused, not filled with noise.

    Raises:
        ModelError: the weights cannot be loaded, or not all are there.
    """
    with boundary(ModelError, f"the weights of {str(ref)!r} cannot be loaded"):
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"the weights of {str(ref)!r} lack {len(missing)} tensors, e.g. {missing[0]}")
    return model.eval().requires_grad_(False)


def embedding_bytes(model: Any, dtype: str) -> int:
    """Of the token embedding, and of a language model's head unless it is the same, in the dtype of the files."""
    head = model.get_output_embeddings()
    weights = [model.get_input_embeddings().weight, *([] if head is None else [head.weight])]
    num = sum(weight.numel() for weight in {weight.data_ptr(): weight for weight in weights}.values())
    itemsize: int = getattr(torch, dtype).itemsize
    return int(num * itemsize)
