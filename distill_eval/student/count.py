"""How many parameters a size costs: exactly, from the tensors of a model on the meta device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from distill_eval.errors import ModelError
from distill_eval.schema.student import Shape
from distill_eval.student.architectures import FFN, HEADS, HIDDEN, KV, POOLED, Architecture, Axes
from distill_eval.student.teacher import Kind


def auto_class(kind: Kind) -> Any:
    """The class of transformers that loads a model of this kind."""
    return AutoModelForCausalLM if kind == "causal" else AutoModelForSequenceClassification


def on_meta(config: Any, kind: Kind) -> PreTrainedModel:
    """The model of a config, without memory for its weights."""
    with torch.device("meta"):
        model: PreTrainedModel = auto_class(kind).from_config(config)
    return model


class Labeled(NamedTuple):
    """One parameter of a model and what its axes are."""

    name: str
    layer: int | None
    axes: Axes
    """In the order in which it is stored."""
    parameter: torch.nn.Parameter


def label_tensors(model: PreTrainedModel, architecture: Architecture) -> Iterator[Labeled]:
    """All parameters of the model, shared ones once.

    Raises:
        ModelError: the model has a tensor that the architecture's table does not know, so that cutting it would be
            a guess.
    """
    prefix = f"{architecture.layers}."
    for name, parameter in model.named_parameters():
        path, _, kind = name.rpartition(".")
        inside = path.removeprefix(prefix) if path.startswith(prefix) else ""
        number, _, rest = inside.partition(".")
        axes = architecture.inside.get(rest) if inside else architecture.outside.get(path)
        if axes is None or kind not in {"weight", "bias"} or (kind == "weight" and len(axes) != parameter.ndim):
            raise ModelError(
                f"{type(model).__name__} has a tensor {name} which this architecture has not elsewhere: only layers "
                "of this model can be removed, with --keep-layers or --drop-layers"
            )
        if kind == "bias":
            axes = axes[:1]
        elif isinstance(model.get_submodule(path), Conv1D):
            axes = axes[::-1]  # stored input first
        yield Labeled(name, int(number) if inside else None, axes, parameter)


class Term(NamedTuple):
    """`coefficient * num_layers^a * hidden_size^b * num_kv_heads^c * ffn_size^d` parameters."""

    coefficient: int
    powers: tuple[int, int, int, int]


def read_terms(model: PreTrainedModel, architecture: Architecture, shape: Shape) -> tuple[Term, ...]:
    """The number of parameters as a polynomial of the sizes.

    Args:
        model: The teacher, on the meta device or any other.
        architecture: Its table.
        shape: Its sizes.

    Raises:
        ModelError: the tensors do not have the sizes that the config and the table say.
    """
    group = shape.num_heads // shape.num_kv_heads
    heads, kv = group * shape.head_dim, shape.head_dim  # channels per KV head
    # axis -> (channels for each unit of a size, which size: 1 hidden, 2 KV heads, 3 inner neurons)
    units = {
        HIDDEN: (1, 1),
        POOLED: (1, 1),
        HEADS: (heads, 2),
        KV: (kv, 2),
        "qkv": (3 * kv, 2),
        "qkv_by_head": (3 * kv, 2),
        FFN: (1, 3),
    }
    sizes = (shape.num_layers, shape.hidden_size, shape.num_kv_heads, shape.ffn_size)
    total: dict[tuple[int, ...], int] = {}
    for tensor in label_tensors(model, architecture):
        if tensor.layer:
            continue  # layers are alike: the first one stands for all
        coefficient, powers = 1, [0 if tensor.layer is None else 1, 0, 0, 0]
        for axis, size in zip(tensor.axes, tensor.parameter.shape, strict=True):
            per_unit, which = units.get(axis, (int(size), 0))
            if which and per_unit * sizes[which] != size:
                raise ModelError(f"{tensor.name} has {size} channels, expected {per_unit * sizes[which]} ({axis})")
            coefficient *= per_unit
            powers[which] += 1 if which else 0  # powers[0] counts layers, not an axis
        key = tuple(powers)
        total[key] = total.get(key, 0) + coefficient
    return tuple(Term(coefficient, (a, b, c, d)) for (a, b, c, d), coefficient in total.items())


def count(terms: tuple[Term, ...], num_layers: Any, hidden_size: Any, num_kv_heads: Any, ffn_size: Any) -> Any:
    """The number of parameters; elementwise for arrays of int64."""
    sizes = (num_layers, hidden_size, num_kv_heads, ffn_size)
    total: Any = 0
    for coefficient, powers in terms:
        product: Any = coefficient
        for size, power in zip(sizes, powers, strict=True):
            product = product * size**power
        total = total + product
    return total


def count_shape(terms: tuple[Term, ...], shape: Shape) -> int:
    """The number of parameters of one shape."""
    return int(count(terms, shape.num_layers, shape.hidden_size, shape.num_kv_heads, shape.ffn_size))
