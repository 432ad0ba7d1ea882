"""One training of a plan, and what all of its figures rest on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from distill_eval.plan.activations import Dtype
from distill_eval.plan.config import TrainingPlan
from distill_eval.plan.hardware import CPU
from distill_eval.schema.plan import Basis, Figure, Hardware, Method, ModelSizes

UNCOUNTED: dict[Method, str] = {
    "feature": "the hidden states of both models that are compared",
    "attention": "the attention maps of both models that are compared",
}
"""What a method holds besides, of which this plan has no number."""


class Pair(NamedTuple):
    """One training: of a student, or first of an assistant."""

    teacher: ModelSizes
    student: ModelSizes


def taught(models: Sequence[ModelSizes]) -> tuple[Pair, ...]:
    """Who teaches whom: each is the teacher of the next."""
    return tuple(Pair(teacher, student) for teacher, student in pairwise(models))


def training_dtype(config: TrainingPlan, hardware: Hardware) -> Dtype:
    """What the student computes in: by default bfloat16 autocast on a GPU that has it, else float32."""
    if config.dtype is not None:
        return config.dtype
    return "float32" if hardware.name == CPU or not hardware.has_bfloat16 else "bfloat16"


def figure(
    name: str,
    value: float | None,
    unit: str,
    source: str,
    *,
    basis: Basis = "estimate",
    spread: tuple[float | None, float | None] = (None, None),
) -> Figure:
    """A figure of the training under its stable name."""
    low, high = spread
    return Figure(name=f"training.{name}", value=value, unit=unit, low=low, high=high, basis=basis, source=source)
