"""What a step will take, where arithmetic says so: its memory and its disk, with what they are made of.

A number here is a bound from parameters and bytes, never a guess: what activations take, for instance, is in none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig
from distill_eval.errors import ModelError
from distill_eval.export.config import ExportConfig
from distill_eval.pipeline.plan import Step
from distill_eval.pipeline.reads import models
from distill_eval.plan.config import PlanConfig
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.recipe import Recipe
from distill_eval.report_config import ReportConfig
from distill_eval.schema.model import ModelRef
from distill_eval.student.config import PrepareConfig

FLOAT32 = 4
TRAINED = 4 * FLOAT32
"""Bytes of a parameter that is trained: its weight, its gradient and AdamW's two moments, all in float32."""
CHECKPOINT = 3 * FLOAT32
"""Of these, what a checkpoint has: no gradient."""


class Bound(NamedTuple):
    """A number of bytes and what it is made of; without a number, why."""

    num_bytes: int | None
    basis: str

    def __str__(self) -> str:
        """As a line of the plan."""
        return f"- ({self.basis})" if self.num_bytes is None else f"{self.basis}: {self.num_bytes / 1e6:,.1f} MB"


UNKNOWN = Bound(None, "the size of its model is not known yet")


class Size(NamedTuple):
    """A model, from its config alone."""

    num_parameters: int
    itemsize: int
    """Bytes of a parameter in its files."""

    @property
    def num_bytes(self) -> int:
        """Of its weights."""
        return self.num_parameters * self.itemsize


def sizes(recipe: Recipe, planned: tuple[int | None, ...]) -> dict[str, Size]:
    """The models of a recipe of which the size is known before any stage, by folder or Hub name.

    Args:
        recipe: The recipe.
        planned: Parameters of each student that it makes (`planned_sizes`).
    """
    found: dict[str, Size] = {}
    for ref in (recipe.teacher, recipe.student):
        size = None if ref is None else _of_config(ref)
        if ref is not None and size is not None:
            found[ref] = size
    teacher = found.get(recipe.teacher)
    for link, number in zip(recipe.links, planned, strict=False):
        if teacher is not None and number is not None:
            made = (str(link.prepared), str(link.student), str(link.baseline))
            found |= dict.fromkeys(made, Size(number, teacher.itemsize))
    if recipe.distill is not None and recipe.student in found:
        last = recipe.links[-1]
        found |= dict.fromkeys((str(last.student), str(last.baseline)), found[recipe.student])
    return found


def _of_config(ref: str) -> Size | None:
    """`None` for what is neither a plain causal language model nor a classifier."""
    import torch

    from distill_eval.student.count import on_meta
    from distill_eval.student.teacher import locate, read_teacher

    parsed = ModelRef.parse(ref)
    try:
        known = read_teacher(parsed, locate(parsed))
    except ModelError:
        return None
    dtype = known.config.dtype or torch.float32
    return Size(on_meta(known.config, known.kind).num_parameters(), int(dtype.itemsize))


def memory(step: Step, known: Mapping[str, Size]) -> Bound:
    """What a step's models take at once, at least: their weights, and what a training keeps of each parameter."""
    config = step.config
    if isinstance(config, ReportConfig):
        return Bound(None, "no model: it reads what the other stages wrote")
    if isinstance(config, PlanConfig) and not config.training.calibrate:
        return Bound(None, "no model: it reads a config")
    there = [known[ref] for refs in models(config).values() for ref in refs if ref in known]
    if not there or (isinstance(config, DistillConfig) and config.student not in known):
        return UNKNOWN
    if isinstance(config, DistillConfig):
        return _training(config, known)
    if isinstance(config, QuantizeConfig):
        return Bound(2 * there[0].num_bytes, "at least the weights twice (the variant is checked beside the model)")
    if isinstance(config, ExportConfig):
        return Bound(there[0].num_parameters * FLOAT32, "at least the weights in float32")
    return Bound(max(size.num_bytes for size in there), "at least the largest model's weights")


def _training(config: DistillConfig, known: Mapping[str, Size]) -> Bound:
    student = known[config.student].num_parameters * TRAINED
    text = f"at least {TRAINED} bytes x the student's parameters (weights, gradients, AdamW)"
    asked = [] if config.baseline or config.teacher_dtype != "auto" else [known.get(ref) for ref in config.teacher]
    teachers = sum(size.num_bytes for size in asked if size is not None)
    return Bound(student + teachers, f"{text}, and the teacher's weights" if teachers else text)


def disk(step: Step, known: Mapping[str, Size]) -> Bound:
    """What a step writes into its folder."""
    config, made = step.config, known.get(str(step.folder))
    if isinstance(config, (PrepareConfig, DistillConfig)):
        if made is None:
            return UNKNOWN
        if isinstance(config, PrepareConfig):
            return Bound(made.num_bytes, f"{made.itemsize} bytes x {made.num_parameters:,} parameters")
        num = config.training.keep_checkpoints + 1  # the next is written before the oldest goes
        text = f"the weights, and while it trains up to {num} checkpoints of {CHECKPOINT} bytes x parameters"
        return Bound(made.num_bytes + num * CHECKPOINT * made.num_parameters, text)
    if isinstance(config, (QuantizeConfig, ExportConfig)):
        source = known.get(config.model)
        if source is None:
            return UNKNOWN
        if isinstance(config, QuantizeConfig):
            return Bound(source.num_bytes, "less than the weights before")
        from distill_eval.export.run import most_bytes

        return Bound(most_bytes(config, source.num_parameters * FLOAT32), "up to, while it is written")
    if isinstance(config, CacheTeacherConfig):
        return Bound(None, "it depends on the data, and is said once they are read")
    return Bound(None, "no weights: scores, timings and texts")
