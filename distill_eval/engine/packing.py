"""How a model folder's weights are packed, read off its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill_eval.engine import GENAI_CONFIG

UNKNOWN_PRECISION = "onnx of unknown precision"
"""Of an ONNX folder that our export did not write."""
EXPORT = "export.json"
"""What `distill-eval export` says of the model it wrote."""


def quantization(folder: Path) -> str | None:
    """How the folder's weights are packed, e.g. `compressed-tensors W8A8`; `None` when they are not."""
    if (folder / GENAI_CONFIG).is_file():
        precision = read_json(folder / EXPORT).get("precision")
        return None if precision == "fp32" else f"onnx {precision}" if precision else UNKNOWN_PRECISION
    packed = read_json(folder / "config.json").get("quantization_config") or {}
    return f"{packed.get('quant_method', 'unknown')} {_bits(packed)}".strip() if packed else None


def _bits(packed: dict[str, Any]) -> str:
    """The scheme, in the words of compressed-tensors and bitsandbytes."""
    if packed.get("load_in_8bit"):
        return "int8"
    if packed.get("load_in_4bit"):
        return str(packed.get("bnb_4bit_quant_type", "4 bit"))
    groups = packed.get("config_groups") or {}
    found = [(group.get("weights") or {}, group.get("input_activations") or {}) for group in groups.values()]
    schemes = [f"W{weights.get('num_bits')}A{inputs.get('num_bits', 16)}" for weights, inputs in found]
    if not schemes and packed.get("bits"):
        schemes = [f"W{packed['bits']}A{packed.get('act_bits') or 16}"]
    return ", ".join(dict.fromkeys(schemes))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's content; nothing when it is not there."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
