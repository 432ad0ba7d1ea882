"""What will carry a verdict, as far as tasks tell before any response is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from distill_eval.evaluate.harness.results import expected_kind, primary_of
from distill_eval.evaluate.kept import PlannedTask
from distill_eval.schema.evals import GroupSpec

if TYPE_CHECKING:
    from lm_eval.api.task import Task


def planned(
    tasks: Mapping[str, Task], specs: Sequence[GroupSpec], num_docs: Mapping[str, int]
) -> dict[str, PlannedTask]:
    """What will carry a verdict, as far as it can be told before any response is there.

    A group stands for those of its tasks that have its main metric; the rules are those of `distill_eval.compare`.

    Args:
        tasks: The leaf tasks by name.
        specs: The groups that have a score of their own.
        num_docs: Documents that will be scored, by leaf task.
    """
    metrics = {name: list(task.aggregation()) or ["acc"] for name, task in tasks.items()}
    first = {name: primary_of([(metric, "") for metric in known])[0] for name, known in metrics.items()}
    plan: dict[str, PlannedTask] = {}
    inside: set[str] = set()
    for spec in sorted(specs, key=lambda spec: -len(spec.tasks)):
        known = [m for m in spec.metrics if any(m in metrics[name] for name in spec.tasks)]
        votes = {m: sum(first[name] == m for name in spec.tasks) for m in known}
        best = max(votes, key=lambda metric: votes[metric], default=None)
        members = [name for name in spec.tasks if best in metrics[name]]
        if not inside.issuperset(members):
            plan[spec.group] = _planned(best or first[members[0]], tasks[members[0]], {n: num_docs[n] for n in members})
        inside.update(members)
    alone = {
        name: _planned(first[name], task, {name: num_docs[name]}) for name, task in tasks.items() if name not in inside
    }
    return plan | alone


def _planned(metric: str, task: Task, sizes: dict[str, int]) -> PlannedTask:
    return PlannedTask(sum(sizes.values()), expected_kind(task), metric, sizes)
