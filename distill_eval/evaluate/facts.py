"""What a report says about a model, read off its files: the same whatever engine runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distill_eval import checkpoint
from distill_eval.engine import GENAI_CONFIG, graph_files
from distill_eval.engine.packing import EXPORT, quantization, read_json
from distill_eval.errors import ModelError, boundary
from distill_eval.evaluate.models import ModelFolder
from distill_eval.schema.model import ModelFacts


def read_facts(folder: ModelFolder, *, dtype: str, max_length: int, trust_remote_code: bool) -> ModelFacts:
    """Facts of a model folder.

    Args:
        folder: Which.
        dtype: In which it is run.
        max_length: Tokens that its engine reads.
        trust_remote_code: Whether code of its own says what class it is.

    Raises:
        ModelError: its configuration cannot be read.
    """
    files = graph_files(folder.path) if folder.engine == "onnx" else checkpoint.weight_files(folder.path)
    with boundary(ModelError, f"{folder.ref}: the configuration in {folder.path} cannot be read"):
        has_config = (folder.path / "config.json").is_file()
        shape = _built(folder.path, trust_remote_code) if has_config else _exported(folder.path)
        packed = quantization(folder.path)
    architecture, num_parameters, vocab_size = shape
    return ModelFacts(
        ref=str(folder.ref),
        architecture=architecture,
        num_parameters=num_parameters,
        size_bytes=sum(path.stat().st_size for path in files),
        dtype=dtype,
        vocab_size=vocab_size,
        weights_digest=folder.weights_digest,
        tokenizer_digest=folder.tokenizer_digest,
        max_length=max_length,
        engine=folder.engine,
        quantization=packed,
    )


def _built(folder: Path, trust_remote_code: bool) -> tuple[str, int, int]:
    """Class, parameters and vocabulary of the model without its quantization, whose weights are never there."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = kind.from_config(config, trust_remote_code=trust_remote_code)
    model.tie_weights()
    return type(model).__name__, int(model.num_parameters()), int(config.get_text_config().vocab_size)


def _exported(folder: Path) -> tuple[str, int | None, int]:
    """The same of an ONNX folder without the model's config: then only our export says how many parameters."""
    own = read_json(folder / GENAI_CONFIG)["model"]
    said = read_json(folder / EXPORT)
    return str(said.get("architecture") or own["type"]), said.get("num_parameters"), int(own["vocab_size"])
