"""What an evaluation tells while it runs, and what it keeps in the cache."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple, Protocol, TypeVar

from distill_eval.errors import ArtifactError
from distill_eval.record import from_json, record
from distill_eval.schema.evals import EvalRun, MetricKind, Sample
from distill_eval.schema.model import ModelFacts

T = TypeVar("T")
log = logging.getLogger(__name__)


class Progress(Protocol):
    """Hears how far an evaluation is."""

    def start(self, work: dict[str, int], num_models: int) -> None:
        """The work of each task, in any one unit, for each of the `num_models` models that are not in the cache."""

    def update(self, model: str, task: str, fraction: float) -> None:
        """One model has done this fraction of one task; the first call says what was there already."""

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
    metric: str
    """That metric."""
    sizes: dict[str, int]
    """Documents of each of its tasks."""


def read_kept(cls: type[T], data: bytes | None) -> T | None:
    """What the cache holds; `None` when there is nothing, or nothing that this version can read."""
    if data is None:
        return None
    try:
        return from_json(cls, data, source="the evaluation cache")
    except ArtifactError as error:
        log.warning("%s; it is computed again", error)
        return None
