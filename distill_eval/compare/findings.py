"""What a reader must know before believing the table, one sentence each, heaviest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill_eval.compare.verdict import allowed_loss
from distill_eval.schema.evals import EvalRun
from distill_eval.schema.looks import Adaptive
from distill_eval.schema.model import ModelFacts
from distill_eval.schema.retention import WEIGHTS, Bought, Criterion, Entry, Finding, Outcome

FEW_TASKS = 10
"""Below this many clusters a clustered interval is wide, and leans on few tasks (Cameron and Miller 2015, Journal of
Human Resources 50:317-372, section VI)."""

EVEN_ENOUGH = 0.25
"""Texts that say less than this share of what as many of equal length would say may have too narrow an interval,
however many they are (measured in docs/design/statistics.md)."""


def find_all(
    teacher: EvalRun,
    students: Sequence[EvalRun],
    baselines: Sequence[EvalRun],
    entries: Sequence[Entry],
    criterion: Criterion,
) -> tuple[Finding, ...]:
    """Every finding, the heaviest first, else in the order of students and tasks; each said once."""
    found: list[Finding] = []
    facts = {run.model.ref: run.model for run in (*students, *baselines)}
    for student in students:
        mine = [entry for entry in entries if entry.student_ref == student.model.ref]
        found += _bought_findings(student.model, facts, mine)
    for student in (*students, *baselines):
        found += _run_findings(teacher, student)
        found += _scorer_findings(student)
    found += _scorer_findings(teacher)
    for task in dict.fromkeys(entry.task for entry in entries if entry.primary):
        found += _task_findings([entry for entry in entries if entry.primary and entry.task == task], criterion)
    return tuple(sorted(dict.fromkeys(found), key=lambda finding: WEIGHTS.index(finding.weight)))


def _run_findings(teacher: EvalRun, student: EvalRun) -> list[Finding]:
    """What differs between two runs and may."""
    mine, theirs = teacher.manifest, student.manifest
    ref = student.model.ref
    found = []
    if (mine.engine, mine.engine_version) != (theirs.engine, theirs.engine_version):
        engines = theirs.engine_version, mine.engine_version
        text = f"Scored by {engines[0]}, the teacher by {engines[1]}: part of the difference may be the engine's."
        found.append(Finding(weight="high", subject=ref, text=text))
    if mine.dtype != theirs.dtype:
        text = f"Run in {theirs.dtype}, the teacher in {mine.dtype}: part of the difference may be the dtype's."
        found.append(Finding(weight="medium", subject=ref, text=text))
    if mine.lm_eval_version != theirs.lm_eval_version:
        text = f"Evaluated with lm-eval {theirs.lm_eval_version}, the teacher with {mine.lm_eval_version}."
        found.append(Finding(weight="medium", subject=ref, text=text))
    if teacher.model.tokenizer_digest != student.model.tokenizer_digest:
        text = "Has another tokenizer than the teacher: log-likelihoods are compared per byte of text, never per token."
        found.append(Finding(weight="medium", subject=ref, text=text))
    if teacher.model.max_length != student.model.max_length:
        text = (
            f"Reads at most {student.model.max_length} tokens, the teacher {teacher.model.max_length}: "
            "longer prompts were cut differently."
        )
        found.append(Finding(weight="medium", subject=ref, text=text))
    for name in ("device", "batch_tokens", "scorer", "seed"):
        values = [getattr(manifest, name) for manifest in (theirs, mine)]
        if values[0] != values[1]:
            shown = ["automatic" if value is None else value for value in values]
            text = f"{name} was {shown[0]}, {shown[1]} for the teacher."
            found.append(Finding(weight="low", subject=ref, text=text))
    return found


def _scorer_findings(run: EvalRun) -> list[Finding]:
    """Where the plain path ran although the prefix path was asked for; the tasks of one reason together."""
    tasks: dict[str, list[str]] = {}
    for task in run.tasks:
        if task.scorer_reason is not None:
            tasks.setdefault(task.scorer_reason, []).append(task.task)
    return [
        Finding(weight="medium", subject=run.model.ref, text=f"Scored by the plain path on {_names(names)}: {reason}")
        for reason, names in tasks.items()
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tasks" if len(names) > 3 else "")


def _bought_findings(student: ModelFacts, facts: Mapping[str, ModelFacts], entries: Sequence[Entry]) -> list[Finding]:
    """Where the teacher did harm or nothing at all, and a baseline that is not the same student."""
    held = [(entry, entry.bought) for entry in entries if entry.bought is not None]
    if not held:
        return []
    baseline = facts[held[0][1].baseline_ref]
    texts = []
    known = student.num_parameters is not None and baseline.num_parameters is not None
    if known and (student.architecture, student.num_parameters) != (baseline.architecture, baseline.num_parameters):
        texts.append(
            f"Is a {student.architecture} of {student.num_parameters:,} parameters, its baseline {baseline.ref} a "
            f"{baseline.architecture} of {baseline.num_parameters:,}: the difference is not distillation's alone."
        )
    worse = [f"{entry.task} ({_change(entry, bought)})" for entry, bought in held if bought.outcome == "worse"]
    if worse:
        texts.append(f"Is worse than its baseline {baseline.ref} on {_names(worse)}: there distillation did harm.")
    outcomes: set[Outcome] = {bought.outcome for _, bought in held if bought.outcome is not None}
    if outcomes == {"unclear"}:
        tasks = _names([entry.task for entry, bought in held if bought.outcome is not None])
        texts.append(f"Cannot be told from its baseline {baseline.ref} on {tasks}: no gain of distillation is shown.")
    return [Finding(weight="high", subject=student.ref, text=text) for text in texts]


def _change(entry: Entry, bought: Bought) -> str:
    value = bought.difference.value or 0.0
    return f"{'+' if value > 0 else '-'}{amount(abs(value), entry.unit)}"


def _task_findings(entries: Sequence[Entry], criterion: Criterion) -> list[Finding]:
    """What limits the verdicts on one task, whichever the student; for numbers that differ, the worst is given."""
    first = entries[0]
    found = [
        _size_finding(max(entries, key=lambda entry: entry.power.detectable_drop or 0.0), criterion)
        if first.adaptive is None
        else _taken_finding(first, first.adaptive)
    ]
    if first.chance is not None and first.retention_above_chance.value is None:
        text = (
            f"The teacher's {first.metric} of {first.teacher.value or 0.0:.1%} cannot be told from guessing "
            f"({first.chance:.1%}): what a student keeps of it means nothing."
        )
        found.append(Finding(weight="high", subject=first.task, text=text))
    if first.test is not None and first.retention.value is None:
        found.append(Finding(weight="high", subject=first.task, text=f"No retention: {first.retention.reason}."))
    if 1 < first.num_tasks < FEW_TASKS:
        text = f"Its interval rests on {first.num_tasks} tasks as clusters, so it is wide."
        found.append(Finding(weight="low", subject=first.task, text=text))
    uneven = first.num_pairs_effective < EVEN_ENOUGH * first.num_pairs
    if first.unit == "bits/byte" and first.num_tasks == 1 and uneven:
        text = (
            f"Its {first.num_pairs:,} documents are so uneven in length that they say as much as "
            f"{first.num_pairs_effective:.0f} of equal length: if a student loses more on longer texts, its interval "
            "is too narrow and passes it too easily (docs/design/statistics.md, What it cannot do)."
        )
        found.append(Finding(weight="medium", subject=first.task, text=text))
    found += [
        Finding(weight="medium", subject=entry.task, text=_undecided(entry))
        for entry in entries
        if entry.verdict == "INCONCLUSIVE"
    ]
    return [finding for finding in found if finding is not None]


def _size_finding(entry: Entry, criterion: Criterion) -> Finding | None:
    """Whether documents were left out, or are too few to see a loss that the criterion forbids."""
    drop = entry.power.detectable_drop
    allowed = allowed_loss(criterion, entry.teacher.value, higher_is_better=entry.higher_is_better)
    limited = entry.num_pairs < entry.num_docs_total
    blind = entry.test is not None and (drop is None or (allowed is not None and drop > allowed))
    if not limited and not blind:
        return None
    start = (
        f"Limited to {entry.num_pairs:,} of {entry.num_docs_total:,}" if limited else f"Has only {entry.num_pairs:,}"
    )
    text = f"{start} documents"
    if drop is not None:
        loss = "drop" if entry.higher_is_better else "rise"
        text += f": a {loss} below {amount(drop, entry.unit)} cannot be seen"
        if blind and allowed is not None:
            text += f", and the criterion allows {amount(allowed, entry.unit)}"
    return Finding(weight="high" if blind else "medium", subject=entry.task, text=f"{text}.")


def _taken_finding(entry: Entry, adaptive: Adaptive) -> Finding:
    """How many documents were enough, and what that does to the estimates."""
    used = f"{adaptive.num_docs:,} of {adaptive.num_docs_total:,} documents"
    looks = f"{len(adaptive.looks)} looks" if len(adaptive.looks) > 1 else "1 look"
    if adaptive.stopped == "documents":
        text = f"All {adaptive.num_docs_total:,} documents were taken, with {looks}: its intervals allow for that."
    else:
        text = (
            f"{used} were enough for every verdict, after {looks}. Its intervals hold at all of them; the estimates "
            "lean away from the limit, since it was stopped when they were far from it."
        )
    return Finding(weight="low", subject=entry.task, text=text)


def _undecided(entry: Entry) -> str:
    start = f"{entry.student_ref} is INCONCLUSIVE"
    needed = entry.power.num_docs_to_settle
    if entry.contrast.reason is not None:
        return f"{start}: {entry.contrast.reason}."
    if needed is None and entry.contrast.value and entry.num_tasks > 1:
        return f"{start}: its tasks differ so much that more documents of the same tasks would not settle it."
    if needed is None:
        return f"{start}: it stands exactly at the limit, where no number of documents decides."
    if needed > entry.num_docs_total:
        return f"{start}: about {needed:,} documents would settle it, more than its {entry.num_docs_total:,}."
    return f"{start}: about {needed:,} documents in all would settle it (now {entry.num_pairs:,})."


def amount(value: float, unit: str) -> str:
    """A difference with its unit: percentage points for shares, nothing for scores of the metric's own scale."""
    if unit == "share":
        return f"{100 * value:.1f} points"
    return f"{value:.3g}" if unit == "score" else f"{value:.3g} {unit}"
