"""How a model folder's weights are packed, read off its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill_eval import checkpoint
from distill_eval.engine import GENAI_CONFIG, graph_files

UNKNOWN_PRECISION = "onnx of unknown precision"
"""Of an ONNX folder that our export did not write."""
EXPORT = "export.json"
"""What `distill-eval export` says of the model it wrote."""


def quantization(folder: Path) -> str | None:
    """How the folder's weights are packed, e.g. `compressed-tensors W8A8`; `None` when they are not."""
    if (folder / GENAI_CONFIG).is_file():
        precision = read_json(folder / EXPORT).get("precision")
        return None if precision == "fp32" else f"onnx {precision}" if precision else UNKNOWN_PRECISION
    return checkpoint.packed_as(read_json(folder / "config.json"))


def size_bytes(folder: Path) -> int:
    """Of the weights: safetensors, or the graphs and their data."""
    return checkpoint.weight_bytes(folder) or sum(file.stat().st_size for file in graph_files(folder))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's content; nothing when it is not there."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
