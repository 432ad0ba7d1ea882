"""Which tasks a verdict rests on: a group that aggregates has one, its members are shown without."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from distill_eval.schema.evals import GroupSpec, TaskRun

PERPLEXITIES = ("bits_per_byte", "byte_perplexity", "word_perplexity", "perplexity")
"""Names of one and the same information, best first: of several, one is compared."""

Key = tuple[str, str]
"""A metric and its filter."""


class Group(NamedTuple):
    """A group that aggregates at least one metric of its tasks."""

    spec: GroupSpec
    keys: tuple[Key, ...]
    """What it aggregates."""
    primary: Key
    """What its verdict rests on."""
    parent: str | None
    """The smallest group that holds all its tasks and more; without one, this group has a verdict."""


def task_keys(task: TaskRun) -> list[tuple[Key, bool]]:
    """The metrics of a task that are compared, each with whether it is the task's primary one.

    The perplexities of a task under one filter hold the same information: the first of `PERPLEXITIES` stands for all.
    """
    found: list[tuple[Key, bool]] = []
    for metric in task.metrics:
        key, primary = (metric.metric, metric.filter), metric.primary
        if metric.kind == "loglikelihood":
            same = [m for m in task.metrics if m.kind == "loglikelihood" and m.filter == metric.filter]
            key, primary = (_best([m.metric for m in same]), metric.filter), any(m.primary for m in same)
        if key not in [known for known, _ in found]:
            found.append((key, primary))
    return found


def _best(names: Sequence[str]) -> str:
    return min(names, key=lambda name: PERPLEXITIES.index(name) if name in PERPLEXITIES else len(PERPLEXITIES))


def aggregating(groups: Sequence[GroupSpec], tasks: Sequence[TaskRun]) -> list[Group]:
    """The groups that aggregate a metric of tasks in this run, in the order given."""
    by_name = {task.task: task for task in tasks}
    specs = [(spec, _group_keys(spec, [by_name[name] for name in spec.tasks if name in by_name])) for spec in groups]
    real = [(spec, keys) for spec, keys in specs if keys]
    found = []
    for spec, keys in real:
        votes = [key for name in spec.tasks if name in by_name for key, primary in task_keys(by_name[name]) if primary]
        primary = max(keys, key=lambda key: (votes.count(key), -keys.index(key)))
        others = [other for other, _ in real if set(spec.tasks) < set(other.tasks)]
        found.append(Group(spec=spec, keys=keys, primary=primary, parent=smallest(others)))
    return found


def _group_keys(spec: GroupSpec, members: Sequence[TaskRun]) -> tuple[Key, ...]:
    """The metrics and filters that a group aggregates, one of its perplexities standing for all."""
    kinds = {(m.metric, m.filter): m.kind for task in members for m in task.metrics if m.metric in spec.metrics}
    keys = dict.fromkeys(
        (_best([name for (name, f), k in kinds.items() if k == "loglikelihood" and f == key[1]]), key[1])
        if kind == "loglikelihood"
        else key
        for key, kind in kinds.items()
    )
    return tuple(keys)


def smallest(groups: Collection[GroupSpec]) -> str | None:
    """The name of the group with the fewest tasks, the first of several."""
    return min(groups, key=lambda spec: len(spec.tasks)).group if groups else None


def group_of(task: str, groups: Sequence[Group], specs: Sequence[GroupSpec]) -> str | None:
    """The group under which a task is shown: the smallest that aggregates it, else the smallest that collects it."""
    inside = [group.spec for group in groups if task in group.spec.tasks]
    return smallest(inside or [spec for spec in specs if task in spec.tasks])
