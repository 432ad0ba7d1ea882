"""A model folder: loaded strictly, written plainly, and proved to load as the model that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from distill_eval.checkpoint import copy_unchanged, weight_files
from distill_eval.errors import ModelError, StoreError, boundary
from distill_eval.schema.model import ModelRef
from distill_eval.student.count import auto_class
from distill_eval.student.teacher import Kind


def load(ref: ModelRef, folder: Path, kind: Kind) -> PreTrainedModel:
    """The model in the dtype of its files; a model of which a weight is missing is refused, not filled with noise.

    Raises:
        ModelError: the weights cannot be loaded, or not all are there.
    """
    with boundary(ModelError, f"the weights of {str(ref)!r} cannot be loaded"):
        loaded: Any = auto_class(kind).from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    model: PreTrainedModel = loaded[0]
    info: dict[str, Any] = loaded[1]
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"the weights of {str(ref)!r} lack {len(missing)} tensors, e.g. {missing[0]}")
    for parameter in model.parameters():
        # A safetensors file is mapped into memory as its bytes lie, and BLAS rounds otherwise on unaligned data: the
        # same weights must give the same logits to the bit.
        parameter.data = parameter.data.clone()
    model.eval()
    return model


def load_tokenizer(ref: ModelRef, folder: Path) -> Any:
    """The tokenizer of the teacher, which is the student's too.

    Raises:
        ModelError: it cannot be loaded.
    """
    with boundary(ModelError, f"the tokenizer of {str(ref)!r} cannot be loaded"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def write(model: PreTrainedModel, teacher: Path, built: Path) -> None:
    """Write the model, with the tokenizer's files and the generation config copied from the teacher's folder.

    Raises:
        StoreError: the folder cannot be written.
    """
    with boundary(StoreError, f"cannot write {built}"):
        model.save_pretrained(built)
        copy_unchanged(teacher, built)
        for file in weight_files(built):
            file.chmod((built / "config.json").stat().st_mode)  # safetensors writes for its owner only


def probe(model: PreTrainedModel, kind: Kind) -> torch.Tensor:
    """The model's logits on a few fixed tokens."""
    tokens = torch.arange(1, 17).remainder(model.config.vocab_size)[None]
    options = {"use_cache": True} if kind == "causal" else {}
    with torch.inference_mode():
        logits: torch.Tensor = model(tokens, **options).logits
    return logits


def check_reload(ref: ModelRef, built: Path, kind: Kind, expected: torch.Tensor) -> None:
    """Prove that the written folder computes what the model in memory did.

    Raises:
        ModelError: it computes something else.
    """
    model = load(ref, built, kind)
    if not probe(model, kind).equal(expected):
        raise ModelError(
            f"{type(model).__name__} computes something else after layers are dropped and it is loaded again: "
            f"its config ties a layer to its number. Layers of {str(ref)!r} cannot be dropped"
        )
