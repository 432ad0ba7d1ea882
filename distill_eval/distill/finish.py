"""The trained student as a plain Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from distill_eval.checkpoint import copy_unchanged
from distill_eval.distill.teaching import FEATURE_MODULE
from distill_eval.errors import StoreError, boundary


def write_student(model: Any, source: Path, output: Path, dtype: torch.dtype) -> None:
    """Write weights, config, tokenizer and generation config.

    Args:
        model: The trained student.
        source: The folder it was loaded from.
        output: Where it goes.
        dtype: Of the weights: that of the student before training.

    Raises:
        StoreError: the folder cannot be written.
    """
    if hasattr(model, FEATURE_MODULE):
        delattr(model, FEATURE_MODULE)
    model.config.use_cache = True
    with boundary(StoreError, f"cannot write {output}. Free space, then add --resume: the last step is kept"):
        model.to(dtype).save_pretrained(output)
        copy_unchanged(source, output)
