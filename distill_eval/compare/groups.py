"""Which tasks a verdict rests on: a group that aggregates has one, its members are shown without."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from distill_eval.schema.evals import GroupSpec, MetricRun, TaskRun

BITS = "bits_per_byte"
"""What carries the verdict of every perplexity: it does not depend on how a tokenizer or a space cuts the text."""

Key = tuple[str, str]
"""A metric and its filter."""


class Group(NamedTuple):
    """A group that aggregates at least one metric of its tasks."""

    spec: GroupSpec
    keys: tuple[Key, ...]
    """What it aggregates."""
    primary: Key
    """What its verdict rests on."""
    members: tuple[str, ...]
    """The tasks that have it; the others are no part of the group's score."""
    parent: str | None
    """The smallest group around it, under which it is shown."""
    judged: bool
    """Whether it has a verdict: that of no other group rests on all its members."""


def task_keys(task: TaskRun) -> dict[Key, bool]:
    """The metrics of a task that are compared, each with whether it is the task's primary one.

    Where a perplexity is primary, bits per byte stand before it and carry the verdict, whether the task has a metric of
    that name or not.
    """
    found: dict[Key, bool] = {}
    for metric in task.metrics:
        if metric.kind == "loglikelihood":
            if any(m.primary for m in texts(task, metric.filter)):
                found.setdefault((BITS, metric.filter), True)
            found.setdefault((metric.metric, metric.filter), False)
        else:
            found[metric.metric, metric.filter] = metric.primary
    return found


def texts(task: TaskRun, filter_name: str) -> list[MetricRun]:
    """The perplexities of a task under one filter, bits per byte first: all hold the same log-likelihoods."""
    found = [m for m in task.metrics if m.kind == "loglikelihood" and m.filter == filter_name]
    return sorted(found, key=lambda metric: metric.metric != BITS)


def aggregating(groups: Sequence[GroupSpec], tasks: Sequence[TaskRun]) -> list[Group]:
    """The groups that aggregate a metric of tasks in this run, in the order given (a group before what is in it)."""
    by_name = {task.task: task for task in tasks}
    real: list[tuple[GroupSpec, tuple[Key, ...], Key, tuple[str, ...]]] = []
    for spec in groups:
        inside = [by_name[name] for name in spec.tasks if name in by_name]
        votes = _votes(spec, inside)
        if votes:
            primary = max(votes, key=lambda key: votes[key])
            members = tuple(task.task for task in inside if has(task, primary))
            real.append((spec, tuple(votes), primary, members))
    found = []
    for place, (spec, keys, primary, members) in enumerate(real):
        others = [(other, index < place) for index, other in enumerate(real) if index != place]
        around = [other[0] for other, earlier in others if _within(spec.tasks, other[0].tasks, earlier=earlier)]
        judged = not any(_within(members, other[3], earlier=earlier) for other, earlier in others)
        found.append(Group(spec, keys, primary, members, smallest(around), judged))
    return found


def _votes(spec: GroupSpec, tasks: Sequence[TaskRun]) -> dict[Key, int]:
    """What a group aggregates, in order, each with the number of tasks for which it is the primary metric."""
    votes: dict[Key, int] = {}
    for task in tasks:
        primary = task_keys(task)
        for metric in task.metrics:
            if metric.metric in spec.metrics:
                if metric.kind == "loglikelihood":
                    votes.setdefault((BITS, metric.filter), 0)
                votes.setdefault((metric.metric, metric.filter), 0)
        for key in votes:
            votes[key] += primary.get(key, False)
    return votes


def has(task: TaskRun, key: Key) -> bool:
    """Whether this can be compared on the task: it is a metric of its own, or bits per byte of any perplexity."""
    return any((m.metric, m.filter) == key for m in task.metrics) or (key[0] == BITS and bool(texts(task, key[1])))


def _within(inner: Sequence[str], outer: Sequence[str], *, earlier: bool) -> bool:
    """Whether the outer one has all that the inner one has and more, or the same and comes earlier."""
    return set(inner) < set(outer) or (earlier and set(inner) == set(outer))


def smallest(groups: Collection[GroupSpec]) -> str | None:
    """The name of the group with the fewest tasks, the first of several."""
    return min(groups, key=lambda spec: len(spec.tasks)).group if groups else None


def group_of(task: str, groups: Sequence[Group], specs: Sequence[GroupSpec]) -> str | None:
    """The group under which a task is shown: the smallest that aggregates it, else the smallest that collects it."""
    inside = [group.spec for group in groups if task in group.spec.tasks]
    return smallest(inside or [spec for spec in specs if task in spec.tasks])
