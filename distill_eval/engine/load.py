"""From a model reference to a loaded model, on the engine that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from distill_eval import checkpoint
from distill_eval.engine import GENAI_CONFIG, Dtype, Engine, LogitModel, guess
from distill_eval.errors import ModelError, UsageError, require
from distill_eval.schema.model import ModelRef


class Found(NamedTuple):
    """A model on disk, and what runs it."""

    ref: ModelRef
    folder: Path
    engine: Engine


def find(ref: ModelRef, engine: Engine | None = None, *, role: str = "model") -> Found:
    """Locate a model with its weights, and choose the engine.

    Args:
        ref: A folder or Hub name.
        engine: Asked for; by default guessed from the folder.
        role: What the model is to the user, for messages.

    Raises:
        UsageError: the engine does not run such a folder, or gives no whole distributions.
        ModelError: the model cannot be had, or lacks weights.
    """
    require(
        engine != "vllm",
        "--engine vllm: its server gives the log-probabilities of some tokens, and here the whole distribution is "
        "compared. Type --engine hf, which runs the same folder",
    )
    folder = checkpoint.locate(ref, checkpoint.SMALL_FILES, role=role)
    guessed = guess(folder)
    if engine is not None and engine != guessed:
        needed = f"no {GENAI_CONFIG}" if engine == "onnx" else f"{GENAI_CONFIG}: it is run by ONNX Runtime GenAI"
        raise UsageError(f"--engine {engine}: {folder} has {needed}. Leave --engine out, or type --engine {guessed}")
    if guessed == "onnx":
        folder = checkpoint.locate(ref, ["*"], role=role)
    else:
        folder = checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role=role)
    return Found(ref, folder, guessed)


def load(found: Found, *, dtype: Dtype = "auto", device: str = "cpu") -> LogitModel:
    """The loaded model.

    Args:
        found: Where it is.
        dtype: As in `hf.load`; an exported model has its own.
        device: `cpu` or `cuda[:n]`.

    Raises:
        ModelError: it cannot be loaded, or a library is missing.
    """
    if found.engine == "onnx":
        raise ModelError("onnx")
    from distill_eval.engine import hf

    return hf.load(found.folder, name=str(found.ref), dtype=dtype, device=device)
