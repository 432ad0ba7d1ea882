"""What an evaluation tells while it runs, and what it keeps in the cache."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from distill_eval.record import record
from distill_eval.schema.evals import EvalRun, MetricKind, Sample
from distill_eval.schema.model import ModelFacts


class Progress(Protocol):
    """Hears how far an evaluation is."""

    def start(self, work: dict[str, int], num_models: int) -> None:
        """The work of each task, in any one unit, for each of `num_models` models."""

    def update(self, model: str, task: str, fraction: float) -> None:
        """One model has done this fraction of one task."""

    def say(self, text: str) -> None:
        """A line for the reader."""


@record
class Scored:
    """A finished evaluation of one model as it is kept in the cache."""

    run: EvalRun
    samples: dict[str, tuple[Sample, ...]]
    """By task, in the order of the documents."""


@record
class Responses:
    """One model's answers to one task as they are kept in the cache."""

    facts: ModelFacts
    responses: list[Any]
    """Per request: [log-likelihood, is greedy], a log-likelihood, or a text."""
    scorer: str
    scorer_reason: str | None


class PlannedTask(NamedTuple):
    """A task or group that is about to be scored."""

    num_docs: int
    kind: MetricKind
    """Of the metric that will carry its verdict, as far as it is known before."""
