"""Whether several models can stay in memory at once."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval import checkpoint
from distill_eval.engine import graph_files
from distill_eval.evaluate import models
from distill_eval.evaluate.facts import read_facts
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.serving.memory import available_bytes

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SHARE = 0.4
"""Of the free memory, for weights: packing them for the processor may double them, and the scoring needs the rest."""


def for_all(folders: Sequence[models.ModelFolder], options: EvaluateOptions, free: int) -> bool:
    """Whether the weights of all models fit together into so many free bytes; never of servers, which take all."""
    different = list({folder[2:]: folder for folder in folders}.values())
    if any(folder.engine == "vllm" for folder in different):
        return False
    return sum(_weight_bytes(folder, options) for folder in different) <= SHARE * free


def _weight_bytes(folder: models.ModelFolder, options: EvaluateOptions) -> int:
    """As stored, or in the dtype of the run where that is more."""
    if folder.engine == "onnx":
        return sum(path.stat().st_size for path in graph_files(folder.path))
    stored = sum(path.stat().st_size for path in checkpoint.weight_files(folder.path))
    dtype = models.resolve_dtype(folder, options.dtype)
    facts = read_facts(folder, dtype=dtype, max_length=0, trust_remote_code=options.trust_remote_code)
    return max(stored, (facts.num_parameters or 0) * ITEM_BYTES[dtype])


def free_bytes(device: str) -> int:
    """Memory that is free on the device."""
    if device == "cpu":
        return available_bytes()
    import torch

    return int(torch.cuda.mem_get_info(device)[0])
