"""Evaluates teacher and students block by block, on each task until every student has its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from distill_eval.errors import UsageError

if TYPE_CHECKING:
    from distill_eval.compare import Looked
    from distill_eval.engine import EngineChoice
    from distill_eval.evaluate.kept import PlannedTask, Progress, Scored
    from distill_eval.evaluate.run import Session
    from distill_eval.schema.model import ModelRef
    from distill_eval.schema.retention import Criterion


def check_bounded(plan: Mapping[str, PlannedTask]) -> None:
    """Refuse, before a model is loaded, what cannot be looked at several times.

    Raises:
        UsageError: a metric has documents without known bounds, or a task is part of two verdicts.
    """
    from distill_eval.compare import bounded

    odd = [name for name, task in plan.items() if task.kind not in ("binary", "real") or not bounded(task.metric)]
    if odd:
        rest = [name for name in plan if name not in odd]
        named = ", ".join(f"{name} ({plan[name].metric})" for name in odd)
        raise UsageError(
            f"--adaptive: {named} cannot be stopped early: expected a metric that scores every document from 0 to 1, "
            "such as acc or exact_match. Compare it without --adaptive"
            + (f", and the others with it: --tasks {','.join(rest)}" if rest else "")
        )
    owner: dict[str, str] = {}
    for name, task in plan.items():
        for member in task.sizes:
            if owner.setdefault(member, name) != name:
                raise UsageError(
                    f"--adaptive: {member} belongs to both {owner[member]} and {name}, and its documents can be in one "
                    f"order only: leave one of them out of --tasks"
                )


def evaluate_until_decided(
    session: Session,
    refs: Sequence[ModelRef],
    engines: Sequence[EngineChoice],
    criterion: Criterion,
    announced: Mapping[str, PlannedTask],
    progress: Progress,
) -> tuple[list[Scored], list[Looked]]:
    """The evaluations of the documents that were taken, and how they were.

    Args:
        session: On the tasks.
        refs: The teacher, then its students.
        engines: What runs each.
        criterion: What a student must show.
        announced: Filled by the session with what carries a verdict, before a model is loaded.
        progress: Hears of every look.
    """
    from distill_eval.compare import Evaluated, shuffled, undecided

    seed = session.options.seed
    with session.opened(refs, engines) as take:
        looks = {name: shuffled(name, task.sizes, seed) for name, task in announced.items()}
        going = set(looks)
        while True:
            looks = {name: one.further() if name in going else one for name, one in looks.items()}
            scored = take({task: taken for one in looks.values() for task, taken in one.documents.items()})
            teacher, *students = (Evaluated(run=one.run, samples=one.samples) for one in scored)
            waiting = undecided(teacher, students, criterion, seed=seed, looks=list(looks.values()))
            for name in sorted(going):
                progress.say(_said(looks[name], settled=name not in waiting))
            going = {name for name in waiting if not looks[name].exhausted}
            if not going:
                return scored, list(looks.values())


def _said(looked: Looked, *, settled: bool) -> str:
    """Where a task stands after a look, as a line for the terminal."""
    state = "every verdict holds" if settled else "not settled"
    return f"{looked.name}: {looked.looks[-1]:,} of {len(looked.order):,} documents, {state}"
