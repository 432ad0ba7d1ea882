"""What two comparisons must have in common to be held against each other, and what else differs between them."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.errors import NotComparableError
from distill_eval.schema.retention import Finding, Retention, TaskFacts

MUST_AGREE = {"version": "version", "output_type": "output type", "num_fewshot": "few-shot examples"}
"""Fields of a task that must be equal, and what a reader knows them as."""
MAX_NAMED = 5


def require_alike(before: Retention, after: Retention) -> None:
    """Refuse comparisons with different teachers, chat templates or levels, or without a common task.

    Raises:
        NotComparableError: what differs, and what to do.
    """
    if before.teacher.weights_digest != after.teacher.weights_digest:
        raise NotComparableError(
            f"the teachers are not the same: {before.teacher.ref} (weights {before.teacher.weights_digest[:12]}) "
            f"before, {after.teacher.ref} ({after.teacher.weights_digest[:12]}) after. Compare both students with one "
            "teacher: distill-eval compare --teacher TEACHER --student BEFORE,AFTER --tasks TASKS"
        )
    old, new = before.manifest, after.manifest
    if (old.apply_chat_template, old.chat_template_digest) != (new.apply_chat_template, new.chat_template_digest):
        raise NotComparableError(
            "the runs were not asked alike: they differ in the chat template. Compare again, both with or both without "
            "--apply-chat-template"
        )
    if before.criterion.level != after.criterion.level:
        raise NotComparableError(
            f"the runs have intervals of different levels, {before.criterion.level:g} before and "
            f"{after.criterion.level:g} after. Compare again with the same --level: the cache has what was scored"
        )
    if not {task.task for task in before.tasks} & {task.task for task in after.tasks}:
        raise NotComparableError(
            f"the runs have no task in common: {_named(before)} before, {_named(after)} after. Compare again with the "
            "same --tasks"
        )


def unlike_tasks(before: Retention, after: Retention) -> dict[str, str]:
    """Tasks of both that were not scored alike, and what differs."""
    later = {task.task: task for task in after.tasks}
    found = {}
    for task in before.tasks:
        if task.task in later:
            differences = _differences(task, later[task.task])
            if differences:
                found[task.task] = "; ".join(differences)
    return found


def findings(before: Retention, after: Retention) -> list[Finding]:
    """What else differs between them."""
    found = []
    for field, what in (("engine_version", "engine"), ("lm_eval_version", "lm-eval"), ("dtype", "dtype")):
        old, new = getattr(before.manifest, field), getattr(after.manifest, field)
        if old != new:
            text = f"The teacher's {what} is {old} before and {new} after: a part of a small difference may be its own."
            found.append(Finding(weight="medium", subject="run", text=text))
    return found + _other_prompts(before, after)


def _other_prompts(before: Retention, after: Retention) -> list[Finding]:
    """Tasks of as many documents in both runs whose requests are not the same ones."""
    later = {task.task: task for task in after.tasks}
    both = [(task, later[task.task]) for task in before.tasks if task.task in later]
    text = "Its requests are not the same in both runs: other documents, or other examples in front of them."
    return [
        Finding(weight="medium", subject=old.task, text=text)
        for old, new in both
        if old.num_docs == new.num_docs and old.prompts_digest != new.prompts_digest
    ]


def _differences(task: TaskFacts, other: TaskFacts) -> list[str]:
    return [
        f"{name} {getattr(task, field)} before and {getattr(other, field)} after"
        for field, name in MUST_AGREE.items()
        if getattr(task, field) != getattr(other, field)
    ]


def _named(run: Retention) -> str:
    return listed([task.task for task in run.tasks])


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
