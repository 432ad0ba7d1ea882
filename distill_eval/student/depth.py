"""Layers: which ones to keep, and a model without the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.nn import ModuleList
from transformers import PreTrainedModel

from distill_eval.errors import ModelError

_PER_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")
"""Config fields of transformers that hold one entry per layer."""


def most_important(importance: Sequence[float], num_layers: int, *, keep_ends: bool) -> tuple[int, ...]:
    """The numbers of the `num_layers` layers of highest importance, ascending; of equal ones the first."""
    last = len(importance) - 1
    ends = {0, last} if keep_ends else set()
    ranked = sorted(range(last + 1), key=lambda layer: (layer not in ends, -importance[layer], layer))
    return tuple(sorted(ranked[:num_layers]))


def evenly_spaced(num_layers: int, of: int) -> tuple[int, ...]:
    """`num_layers` layer numbers spread over `of`, the first and (from two on) the last among them."""
    if num_layers == 1:
        return (0,)
    return tuple(round(index * (of - 1) / (num_layers - 1)) for index in range(num_layers))


def drop_layers(model: PreTrainedModel, kept: tuple[int, ...]) -> None:
    """Leave only the layers `kept` in the model, renumbered, with its config made to match.

    Raises:
        ModelError: the model's layers are not one list of `num_hidden_layers` modules.
    """
    name, layers = find_layers(model)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, ModuleList([layers[index] for index in kept]))
    for position, index in enumerate(kept):
        for module in layers[index].modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = position  # where the layer keeps its keys and values in the cache
    keep_in_config(model.config, kept)


def keep_in_config(config: Any, kept: tuple[int, ...]) -> None:
    """Make a config state the layers `kept` alone."""
    num_layers = config.num_hidden_layers
    config.num_hidden_layers = len(kept)
    for field in _PER_LAYER:
        values = getattr(config, field, None)
        if values is not None and len(values) == num_layers:
            setattr(config, field, [values[index] for index in kept])
    if getattr(config, "max_window_layers", None) is not None:  # Qwen: the layers below it attend to everything
        config.max_window_layers -= sum(index not in kept for index in range(min(num_layers, config.max_window_layers)))


def find_layers(model: PreTrainedModel) -> tuple[str, Any]:
    """Path and modules of the model's one list of layers.

    Raises:
        ModelError: there is none of `num_hidden_layers` modules, or several.
    """
    num_layers = model.config.num_hidden_layers
    lists = {name: module for name, module in model.named_modules() if isinstance(module, ModuleList)}
    outer = {name: module for name, module in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}
    found = [(name, module) for name, module in outer.items() if len(module) == num_layers]
    if len(found) != 1:
        sizes = ", ".join(f"{name} ({len(module)})" for name, module in outer.items()) or "none"
        raise ModelError(
            f"{type(model).__name__}: expected its {num_layers} decoder layers in one list of modules, found {sizes}"
        )
    return found[0]
