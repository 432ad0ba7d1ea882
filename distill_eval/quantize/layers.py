"""Which layers are quantized, which stay, and which an engine fuses."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from distill_eval.engine.hf import LENGTHS, check_kind, quantization_method
from distill_eval.errors import ModelError, boundary, nearest, require
from distill_eval.schema.model import ModelRef

_FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""What vLLM runs as one matrix product, which has one scheme."""
HEAD = "lm_head"
"""Stands for the output projection whatever its name."""


class Layers(NamedTuple):
    """The linear layers of a model."""

    widths: dict[str, int]
    """Those to quantize, by module name, with their number of inputs."""
    heights: dict[str, int]
    """The same with their number of outputs."""
    ignored: tuple[str, ...]
    """Those that stay."""
    architecture: str
    tied_embeddings: bool
    num_parameters: int
    num_parameters_in: dict[str, int]
    """Weights of each layer to quantize."""
    embeddings: tuple[str, ...]
    """Module names of input and output embeddings."""
    max_length: int | None
    """Context length in tokens, where the config names one."""

    @property
    def units(self) -> list[tuple[str, ...]]:
        """The layers to quantize, those that engines fuse together."""
        return group_units(tuple(self.widths))


def read_layers(ref: ModelRef, folder: Path, ignore: Sequence[str]) -> Layers:
    """The layers of a causal language model, from its config alone.

    Raises:
        UsageError: `ignore` names no layer, or all of them.
        ModelError: the model is quantized already, cannot be read, or has no linear layers.
    """
    with boundary(ModelError, f"the config of {str(ref)!r} cannot be read (code from a repository is never run)"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    check_kind(config, str(ref))
    method = quantization_method(config)
    if method is not None:
        raise ModelError(f"{str(ref)!r} is quantized already ({method}): name the unquantized model")
    with (
        boundary(ModelError, f"{str(ref)!r} is no causal language model that transformers knows"),
        torch.device("meta"),
    ):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.tie_weights()
    found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    head = next((name for name, module in found.items() if module is model.get_output_embeddings()), HEAD)
    if not found.keys() - {head}:
        raise ModelError(
            f"{type(model).__name__} has no linear layers but its head (GPT-2 has Conv1D): the schemes know linear ones"
        )
    tied = bool(config.get_text_config().tie_word_embeddings)
    asked = [head if pattern == HEAD else pattern for pattern in [*ignore, *([HEAD] if tied else [])]]
    ignored = matching(tuple(found), asked, may_lack=head)
    kept = {name: module for name, module in found.items() if name not in ignored}
    require(bool(kept), f"--ignore {','.join(ignore)}: that leaves nothing to quantize")
    embeddings = {module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module}
    return Layers(
        widths={name: int(module.in_features) for name, module in kept.items()},
        heights={name: int(module.out_features) for name, module in kept.items()},
        ignored=ignored,
        architecture=type(model).__name__,
        tied_embeddings=tied,
        num_parameters=int(model.num_parameters()),
        num_parameters_in={name: module.weight.numel() for name, module in kept.items()},
        embeddings=tuple(name for name, module in model.named_modules() if module in embeddings),
        max_length=next((getattr(config, name) for name in LENGTHS if getattr(config, name, None)), None),
    )


def matching(names: Sequence[str], patterns: Sequence[str], *, may_lack: str = "") -> tuple[str, ...]:
    """The layers that a pattern names: wholly, by their last part, or with wildcards.

    Raises:
        UsageError: a pattern names no layer; `may_lack` may be named nevertheless.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        hits = [name for name in names if fnmatchcase(name, pattern) or name.rpartition(".")[2] == pattern]
        if not hits and pattern != may_lack:
            guesses = nearest(pattern, {name.rpartition(".")[2] for name in names} | set(names))
            hint = f" Did you mean {' or '.join(guesses)}?" if guesses else f" Layers: {', '.join(names[:8])}, ..."
            require(condition=False, message=f"--ignore {pattern}: no such linear layer.{hint}")
        found.update(dict.fromkeys(hits))
    return tuple(name for name in names if name in found)


def group_units(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The layers in order, those together that an engine runs as one."""
    units: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parent, _, last = name.rpartition(".")
        fused = next((group for group in _FUSED if last in group), (last,))
        units.setdefault((parent, *fused), []).append(name)
    return [tuple(members) for members in units.values()]


def split_units(units: Sequence[tuple[str, ...]], quantized: frozenset[str]) -> list[tuple[str, ...]]:
    """The units of which some layers are quantized and some are not."""
    return [unit for unit in units if 0 < len(quantized & set(unit)) < len(unit)]
