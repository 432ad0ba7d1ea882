"""Find a teacher's files and read its configuration, so that whatever is wrong is said before weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill_eval import checkpoint
from distill_eval.errors import ModelError, boundary
from distill_eval.schema.model import ModelRef


def locate(ref: ModelRef) -> Path:
    """The folder with everything but the weights: the user's own, or a snapshot of the Hub repository.

    Raises:
        UsageError: a revision of a local folder was asked for.
        ModelError: there is no such folder, repository or revision, or the Hub cannot be reached.
    """
    return checkpoint.locate(ref, checkpoint.SMALL_FILES, role="teacher")


def read_config(ref: ModelRef, folder: Path) -> Any:
    """The transformers config of a causal language model whose layers can be dropped.

    Raises:
        ModelError: there is no readable config, or the model is of a kind that is not supported.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    with boundary(ModelError, f"the config of {str(ref)!r} cannot be read (code from a repository is never run)"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    named = (config.architectures or [getattr(causal, "__name__", type(config).__name__)])[0]
    if getattr(config, "is_encoder_decoder", False) or named != getattr(causal, "__name__", None):
        raise ModelError(f"{str(ref)!r} is a {named}: expected a causal language model without an encoder")
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"{str(ref)!r} is quantized: name the unquantized model, and quantize the student afterwards")
    if not isinstance(getattr(config, "num_hidden_layers", None), int):
        raise ModelError(f"{named} has no num_hidden_layers in its config: layers cannot be dropped from {str(ref)!r}")
    return config


def fetch_weights(ref: ModelRef) -> Path:
    """The folder with the safetensors weights too; on the Hub they are downloaded now.

    Raises:
        ModelError: there are none, only pickle files, or a shard is missing.
    """
    return checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role="teacher")
