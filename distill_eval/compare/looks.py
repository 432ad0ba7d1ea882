"""Documents in a random order and in blocks: which are taken, when they are looked at, and what is known then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from distill_eval.compare.evidence import Sampled
from distill_eval.compare.measure import Measured
from distill_eval.compare.sequential import FINAL_SHARE, AfterLooks, Taken
from distill_eval.errors import NotComparableError

FIRST_LOOK = 64
GROWTH = 1.25
"""From look to look. A look costs seconds and a document more than that, so looks are frequent; that they become rarer
keeps the documents beyond the one that settled it below a quarter."""
BOUNDS = (0.0, 1.0)
BOUNDED = ("acc", "exact_match", "f1", "em")
"""Metrics (and what begins like the first two) whose documents score from 0 to 1, as bets need to know beforehand."""
UNBOUNDED = "its documents have no known bounds, so no interval holds after several looks"


class Looked(NamedTuple):
    """What carries a verdict (a task, or a group with its tasks) and how far it has come."""

    name: str
    sizes: Mapping[str, int]
    """Documents that each of its tasks has."""
    order: Sequence[tuple[str, int]]
    """(task, document) in the order in which they are taken."""
    looks: tuple[int, ...]
    """Documents taken by each look so far."""

    @property
    def exhausted(self) -> bool:
        """Whether all documents have been taken."""
        return bool(self.looks) and self.looks[-1] == len(self.order)

    @property
    def documents(self) -> dict[str, frozenset[int]]:
        """What has been taken, by task."""
        found: dict[str, set[int]] = {}
        for task, document in self.order[: self.looks[-1]]:
            found.setdefault(task, set()).add(document)
        return {task: frozenset(documents) for task, documents in found.items()}

    def further(self) -> Looked:
        """The same one look later; unchanged without documents to take."""
        if self.exhausted:
            return self
        size = int(self.looks[-1] * GROWTH) if self.looks else max(FIRST_LOOK, self._all_seen())
        return self._replace(looks=(*self.looks, min(size, len(self.order))))

    def _all_seen(self) -> int:
        """Documents by which each task has one."""
        first: dict[str, int] = {}
        for place, (task, _) in enumerate(self.order):
            first.setdefault(task, place + 1)
        return max(first.values())


def shuffled(name: str, sizes: Mapping[str, int], seed: int) -> Looked:
    """The documents of all tasks together in a random order that depends on the seed and the tasks' names."""
    drawn = []
    for task, size in sizes.items():
        keys = np.random.default_rng([seed, crc32(task.encode())]).random(size)
        drawn += [(key, task, document) for document, key in enumerate(keys)]
    return Looked(name, dict(sizes), [(task, document) for _, task, document in sorted(drawn)], ())


def bounded(metric: str) -> bool:
    """Whether the metric's documents are known to score from 0 to 1."""
    return metric in BOUNDED or metric.startswith(BOUNDED[:2])


class Part(NamedTuple):
    """One task of what is measured."""

    task: str
    measured: Measured
    documents: Sequence[int]
    """In the order of its scores."""


def looked_of(tasks: Sequence[str], looks: Sequence[Looked]) -> Looked:
    """The one that holds these tasks.

    Raises:
        NotComparableError: they were not taken together.
    """
    for looked in looks:
        if all(task in looked.sizes for task in tasks):
            return looked
    raise NotComparableError(
        f"the documents of {', '.join(tasks)} were not taken in one order, so they have no interval together. Compare "
        "without --adaptive: what was scored is in the cache"
    )


def after_looks(
    whole: Measured, parts: Sequence[Part], metric: str, looked: Looked, *, level: float, weight_by_size: bool = True
) -> Measured:
    """The same with evidence, and a p-value, that hold at all looks together; without where there is none.

    Args:
        whole: A task or group, measured as if the number of documents had been fixed before.
        parts: Its tasks.
        metric: What was measured.
        looked: How their documents were taken.
        level: Of the intervals.
        weight_by_size: As in `measure_group`.
    """
    usual = whole.evidence
    if usual is None:
        return whole
    taken = _taken(parts, looked, weight_by_size=weight_by_size) if bounded(metric) else None
    if taken is None or not isinstance(usual, Sampled):
        return whole._replace(evidence=None, test=None, p_value=None, reason=UNBOUNDED)
    evidence = AfterLooks(taken, usual, looked.exhausted)
    p_value = evidence.p_value(level)
    if looked.exhausted and whole.p_value is not None:
        p_value = min(p_value, whole.p_value / FINAL_SHARE)
    return whole._replace(evidence=evidence, test="betting, at any look", p_value=p_value)


def _taken(parts: Sequence[Part], looked: Looked, *, weight_by_size: bool) -> Taken | None:
    """The scores with the look that had them first; `None` where one is out of bounds, or no number."""
    first = np.searchsorted(looked.looks, np.arange(looked.looks[-1]), side="right")
    look_of = dict(zip(looked.order, first, strict=False))
    total = sum(looked.sizes[part.task] for part in parts)
    rows, seen_at = [], []
    for part in parts:
        evidence = part.measured.evidence
        if not isinstance(evidence, Sampled):
            return None
        student, teacher = evidence.units.student[0], evidence.units.teacher[0]
        weight = 1.0 if weight_by_size else total / (len(parts) * looked.sizes[part.task])
        rows.append(np.stack([student, teacher, np.full_like(student, weight)], axis=-1))
        seen_at += [look_of[part.task, document] for document in part.documents]
    every = np.concatenate(rows)
    low, high = BOUNDS
    if every[:, :2].min() < low or every[:, :2].max() > high:
        return None
    distinct, place = np.unique(every, axis=0, return_inverse=True)
    counts = np.zeros((len(looked.looks), len(distinct)))
    np.add.at(counts, (np.array(seen_at), place.reshape(-1)), 1.0)
    counts = counts.cumsum(axis=0)
    student, teacher, weight = distinct.T
    return Taken(student, teacher, weight, counts[None, counts.sum(axis=-1) > 0], BOUNDS, total)
