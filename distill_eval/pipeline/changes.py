"""Two runs that were read, held against each other student by student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.pipeline.samples import read_student
from distill_eval.schema.diff import Diff, SpeedChange, StudentChange, TaskChange
from distill_eval.schema.retention import Finding

if TYPE_CHECKING:
    from distill_eval.pipeline.sides import Comparison, Run
    from distill_eval.schema.gate import Rule
    from distill_eval.schema.report import Variant
    from distill_eval.schema.retention import Provenance

LEVEL = 0.95
"""Of intervals where no comparison sets it."""
REPORTS = "One of the runs is a report's own folder, which has no documents: nothing is said task by task."
REPORTS_TASKS = "a report's own folder does not say over which tasks"
ANOTHER = "the run after has no student of this name"

Pair = tuple["Variant", "Variant"]


class _Held(NamedTuple):
    """A pair of students, task by task."""

    change: StudentChange
    uncompared: Mapping[str, str]
    """Tasks before without a counterpart, each with why."""
    only_after: Sequence[str]


def held_against(
    before: Run, after: Run, pairs: Sequence[Pair], rules: Sequence[Rule], *, chosen: bool, provenance: Provenance
) -> Diff:
    """What changed for each pair of students, and how the rules judge it.

    Args:
        before: The earlier run.
        after: The later one.
        pairs: Which student of one is held against which of the other.
        rules: Also of what is gone: a task or a student before without a counterpart is unmeasured.
        chosen: Whether the user named the pair, and so left the others out.
        provenance: Of the diff.

    Raises:
        UsageError: a rule is for a task that there is none of.
        NotComparableError: the comparisons differ in what must be equal.
        ArtifactError: the documents of one are not complete.
    """
    from distill_eval.compare.alike import findings, require_alike
    from distill_eval.gate.facts import Facts
    from distill_eval.gate.judge import judge

    both = [(old, new) for old in before.comparisons for new in after.comparisons]
    common = [(old, new) for old, new in both if _tasks(old) & _tasks(new)]
    for old, new in common or both[:1]:
        require_alike(old.retention, new.retention)
    level = before.comparisons[0].retention.criterion.level if before.comparisons else LEVEL
    held = [_held(before, after, pair, level) for pair in pairs]
    said = [finding for one in held for finding in _left_out(one)]
    said += [finding for old, new in common for finding in findings(old.retention, new.retention)]
    if not both:
        said.append(Finding(weight="high", subject="run", text=REPORTS))
    facts = [
        Facts(student=one.change.name, changes=one.change.tasks, uncompared=tuple(one.uncompared.items()))
        for one in held
    ]
    if not chosen:
        facts += [Facts(student=name, uncompared=((None, ANOTHER),)) for name in _alone(before, pairs, 0)]
    return Diff(
        before=before.side,
        after=after.side,
        level=level,
        students=tuple(one.change for one in held),
        gate=judge(rules, facts),
        findings=tuple(dict.fromkeys([*said, *_unmatched(before, after, pairs, chosen=chosen)])),
        provenance=provenance,
    )


def _tasks(one: Comparison) -> set[str]:
    return {task.task for task in one.retention.tasks}


def _held(before: Run, after: Run, pair: Pair, level: float) -> _Held:
    """The student in all comparisons before, against the one after in all of its run."""
    from distill_eval.compare.across import Scored, changes, uncompared

    earlier, later = (
        [
            (_tasks(one), Scored(one.retention, ref, read_student(one.folder, one.retention, ref)))
            for one, ref in run.of(student)
        ]
        for run, student in zip((before, after), pair, strict=True)
    )
    found = changes([(old, new) for one, old in earlier for other, new in later if one & other], level=level)
    if not (earlier and later):
        return _Held(_change(*pair, found, REPORTS_TASKS), {}, ())
    old_tasks, new_tasks = (
        list(dict.fromkeys(task for _, one in side for task, _ in one.primary)) for side in (earlier, later)
    )
    missing = uncompared([one for _, one in earlier], [one for _, one in later], found)
    only_after = [task for task in new_tasks if task not in old_tasks]
    return _Held(_change(*pair, found, _apart(found, missing, only_after)), missing, only_after)


def _apart(found: Sequence[TaskChange], missing: Mapping[str, str], only_after: Sequence[str]) -> str | None:
    """Why the mean retentions of two runs have no difference."""
    if missing or only_after:
        return "the two are means over different tasks"
    whole = all(change.num_docs_before == change.num_docs_after for change in found)
    paired = all(change.num_pairs in (None, change.num_docs_before) for change in found)
    return None if whole and paired else "the two are over different documents"


def _left_out(one: _Held) -> Iterator[Finding]:
    """Tasks of one run alone, or that were not scored alike."""
    from distill_eval.compare.alike import listed

    for why in dict.fromkeys(one.uncompared.values()):
        tasks = listed([task for task, its in one.uncompared.items() if its == why])
        yield Finding(weight="high", subject=one.change.name, text=f"Nothing is said about {tasks}: {why}.")
    if one.only_after:
        text = f"Nothing is said about {listed(one.only_after)}: the run before has none of it."
        yield Finding(weight="medium", subject=one.change.name, text=text)


def _change(old: Variant, new: Variant, tasks: tuple[TaskChange, ...], apart: str | None) -> StudentChange:
    return StudentChange(
        name=old.name if old.name == new.name else f"{old.name} to {new.name}",
        ref_before=old.ref,
        ref_after=new.ref,
        num_parameters_before=old.num_parameters,
        num_parameters_after=new.num_parameters,
        size_bytes_before=old.size_bytes,
        size_bytes_after=new.size_bytes,
        retention_before=old.retention,
        retention_after=new.retention,
        retention_apart=apart,
        verdict_before=old.verdict,
        verdict_after=new.verdict,
        kl_before=old.kl,
        kl_after=new.kl,
        speeds=_speeds(old, new),
        tasks=tasks,
    )


def _speeds(old: Variant, new: Variant) -> tuple[SpeedChange, ...]:
    """Every load under which either was measured."""
    before, after = ({speed.load: speed for speed in variant.speeds} for variant in (old, new))
    found = []
    for load in dict.fromkeys([*before, *after]):
        earlier, later = before.get(load), after.get(load)
        found.append(
            SpeedChange(
                load=load,
                before=earlier.speedup if earlier else None,
                after=later.speedup if later else None,
                output_throughput_before=earlier.output_throughput if earlier else None,
                output_throughput_after=later.output_throughput if later else None,
            )
        )
    return tuple(found)


def _alone(run: Run, pairs: Sequence[Pair], place: int) -> list[str]:
    """Students of one run that are in no pair."""
    held = {pair[place].name for pair in pairs}
    return [student.name for student in run.students if student.name not in held]


def _unmatched(before: Run, after: Run, pairs: Sequence[Pair], *, chosen: bool) -> Iterator[Finding]:
    """Students that are in one run alone: one that is gone weighs as much as what became worse."""
    for run, place, when in ((before, 0, "before"), (after, 1, "after")):
        left = _alone(run, pairs, place)
        if left:
            text = f"{', '.join(left)} of the run {when} was held against none of the other."
            yield Finding(weight="low" if chosen or place else "high", subject="run", text=text)
