"""A model's sizes: read from its config, written to it, and checked against what was asked for (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from distill_eval.errors import UsageError, require
from distill_eval.schema.student import Shape
from distill_eval.student.architectures import Architecture
from distill_eval.student.config import PrepareConfig


def read_shape(config: Any, architecture: Architecture) -> Shape:
    """The sizes that a transformers config states."""
    hidden, heads = config.hidden_size, config.num_attention_heads
    kv = getattr(config, architecture.kv_field) if architecture.kv_field else heads
    return Shape(
        num_layers=config.num_hidden_layers,
        hidden_size=hidden,
        ffn_size=getattr(config, architecture.ffn_field) or 4 * hidden,
        num_heads=heads,
        num_kv_heads=kv,
        head_dim=getattr(config, "head_dim", None) or hidden // heads,
    )


def write_widths(config: Any, architecture: Architecture, shape: Shape) -> None:
    """Make a config state all sizes but the number of layers."""
    config.hidden_size = shape.hidden_size
    config.num_attention_heads = shape.num_heads
    setattr(config, architecture.ffn_field, shape.ffn_size)
    for field in architecture.hidden_fields:
        setattr(config, field, shape.hidden_size)
    if architecture.kv_field:
        setattr(config, architecture.kv_field, shape.num_kv_heads)
    if architecture.hidden_is != "product":
        config.head_dim = shape.head_dim  # else it would be read as hidden size / heads


def fits(architecture: Architecture, hidden: Any, heads: Any, head_dim: int) -> Any:
    """Whether the architecture allows hidden size and number of heads together; elementwise for arrays."""
    if architecture.hidden_is == "multiple":
        return hidden % heads == 0
    return hidden == heads * head_dim if architecture.hidden_is == "product" else hidden > 0


def with_heads(shape: Shape, num_heads: int) -> Shape:
    """The shape with another number of query heads and as many KV heads as keep the group size."""
    group = shape.num_heads // shape.num_kv_heads
    return replace(shape, num_heads=num_heads, num_kv_heads=num_heads // group)


def requested(config: PrepareConfig, teacher: Shape, num_layers: int) -> Shape:
    """The teacher's shape with the sizes that were given.

    Raises:
        UsageError: one is larger than the teacher's, or heads would be torn from their KV group.
    """
    given = {
        "--num-layers": (config.num_layers, teacher.num_layers),
        "--ffn-size": (config.ffn_size, teacher.ffn_size),
        "--hidden-size": (config.hidden_size, teacher.hidden_size),
        "--num-heads": (config.num_heads, teacher.num_heads),
    }
    for option, (value, most) in given.items():
        require(value is None or value <= most, f"{option} {value}: the teacher has {most}, and a student not more")
    group = teacher.num_heads // teacher.num_kv_heads
    heads = config.num_heads or teacher.num_heads
    possible = ", ".join(str(group * (index + 1)) for index in range(teacher.num_kv_heads))
    require(
        heads % group == 0,
        f"--num-heads {heads}: the teacher's {teacher.num_heads} heads share {teacher.num_kv_heads} key and value "
        f"heads, {group} each, which stay together. Type one of {possible}",
    )
    shape = replace(
        teacher,
        num_layers=num_layers,
        hidden_size=config.hidden_size or teacher.hidden_size,
        ffn_size=config.ffn_size or teacher.ffn_size,
    )
    return with_heads(shape, heads)


def check_widths(architecture: Architecture, teacher: Shape, shape: Shape) -> None:
    """Refuse a hidden size and a number of heads that do not go together.

    Raises:
        UsageError: the architecture does not allow it; the message says what it does allow.
    """
    unchanged = (shape.hidden_size, shape.num_heads) == (teacher.hidden_size, teacher.num_heads)
    if unchanged or fits(architecture, shape.hidden_size, shape.num_heads, shape.head_dim):
        return
    asked = f"--hidden-size {shape.hidden_size} with --num-heads {shape.num_heads}"
    if architecture.hidden_is == "product":
        dim = shape.head_dim
        pairs = {shape.num_heads * dim: shape.num_heads, shape.hidden_size // dim * dim: shape.hidden_size // dim}
        pairs.pop(teacher.hidden_size, None)  # nothing would change
        group = teacher.num_heads // teacher.num_kv_heads
        types = [
            f"--hidden-size {hidden} --num-heads {heads}"
            for hidden, heads in pairs.items()
            if heads and heads % group == 0 and hidden <= teacher.hidden_size
        ]
        raise UsageError(
            f"{asked}: the hidden size of {architecture.name} is its number of heads times {dim}. "
            f"Type {' or '.join(types) or f'--hidden-size {group * dim} --num-heads {group}'}"
        )
    below = shape.hidden_size // shape.num_heads * shape.num_heads
    nearest = below or shape.num_heads
    raise UsageError(
        f"{asked}: {architecture.name} wants a hidden size that is a multiple of its number of heads. "
        f"Type --hidden-size {nearest}, or another --num-heads"
    )


def as_options(shape: Shape) -> str:
    """The shape as a user would type it."""
    return (
        f"--num-layers {shape.num_layers} --ffn-size {shape.ffn_size} --hidden-size {shape.hidden_size} "
        f"--num-heads {shape.num_heads}"
    )
