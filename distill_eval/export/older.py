"""A model folder as transformers 4 reads it: what transformers 5 calls otherwise, under its old names too.

transformers 4 skips what it does not know: of `rope_parameters` it would take nothing, and compute with a `rope_theta`
of 10,000 whatever the model was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_eval import checkpoint
from distill_eval.errors import ModelError

_TOP = ("rope_theta", "partial_rotary_factor")
"""Of `rope_parameters`, what stood beside `rope_scaling` and not in it."""
_ONCE_NAMED = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
"""And what GPT-NeoX called it; other models skip it."""
_BY_LENGTH = ("dynamic", "longrope")
"""Kinds of rotary angles that depend on how long the text is."""


def older_config(config: Mapping[str, Any], ref: str) -> dict[str, Any]:
    """A config of transformers 5 with everything that transformers 4 looks for, every value spelled out.

    Args:
        config: `to_dict()` of it: with defaults, which differ between the two.
        ref: What the user calls the model.

    Raises:
        ModelError: its rotary parameters cannot be said to transformers 4, or cannot be traced.
    """
    older = dict(config)
    if config.get("dtype") is not None:
        older["torch_dtype"] = config["dtype"]
    rope = config.get("rope_parameters")
    if not rope:
        return older
    if any(isinstance(value, Mapping) for value in rope.values()):
        raise ModelError(
            f"{ref!r} has rotary parameters per kind of layer ({', '.join(rope)}), for which transformers 4 has no one "
            "name: it cannot go through --exporter optimum. Leave that out"
        )
    kind = rope.get("rope_type", "default")
    if kind in _BY_LENGTH:
        raise ModelError(
            f"{ref!r} has rotary parameters of type {kind}, whose angles depend on the length of the text: optimum "
            "traces the model once, for one length. Leave --exporter optimum out"
        )
    top = {name: rope[name] for name in _TOP if rope.get(name) is not None}
    older |= top | {_ONCE_NAMED[name]: value for name, value in top.items()}
    scaling = {name: value for name, value in rope.items() if name not in _TOP}
    older["rope_scaling"] = None if kind == "default" else scaling
    return older


def write_folder(source: Path, config: Mapping[str, Any], target: Path) -> None:
    """A folder with that config and the weights, which are linked, not copied.

    Tokenizer and chat template are left out: no exporter needs them, and transformers 4 fails on those of 5.

    Args:
        source: Folder of the original.
        config: What `older_config` gave.
        target: Folder to make.
    """
    target.mkdir()
    for file in (*checkpoint.weight_files(source), *source.glob("*.safetensors.index.json")):
        (target / file.name).symlink_to(file.resolve())
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
