"""Several trainings of one student, ranked: the content of `sweep.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.distill import Point
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance

SCHEMA = "distill-eval/sweep"
SCHEMA_VERSION = 1


@record
class SweepTrial:
    """One training; its folder holds `distill.json` once it is finished."""

    number: int
    """From 0, in the order in which they were tried."""
    folder: str
    """Below that of the sweep."""
    state: Literal["finished", "pruned", "failed"]
    """`pruned`: given up at a validation; `failed`: the training, or its measure, came to no number."""
    reason: str | None
    """Why it has no rank."""
    rank: int | None
    """1 is the best; `None` for a trial that is not finished."""
    loss: str
    temperature: float
    alpha: float
    learning_rate: float
    num_steps: int
    """Optimizer steps done; of a pruned trial, up to the validation at which it was given up."""
    validation_loss: float | None
    """Cross-entropy of the validation text after training, in nats per token."""
    kl: float | None
    """KL(teacher || student) at temperature 1 on that text, in nats per token; `None` without a live teacher."""
    retention: float | None
    """Unweighted mean over the tasks; `None` when it was not asked for, or is not defined."""
    validations: tuple[Point, ...]
    """What pruning looks at, at each validation: `eval_loss`, or `eval_kl` when that ranks."""
    has_weights: bool
    """Whether its student was kept."""


@record
class SweepRun:
    """A finished sweep."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    student: ModelRef
    """Before training."""
    teachers: tuple[ModelRef, ...]
    sampler: Literal["grid", "tpe"]
    pruner: Literal["none", "median", "halving"]
    rank_by: Literal["validation", "kl", "retention"]
    space: dict[str, str]
    """What was varied, by flag, as the user typed it."""
    tasks: tuple[str, ...]
    limit: float | None
    retention_before: float | None
    """Of the student before training; `None` when retention was not asked for, or is not defined."""
    trials: tuple[SweepTrial, ...]
    """By rank, then those without one, by number."""
    provenance: Provenance
