"""Evaluate a teacher, its students and their baselines, compare them, write the report."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.compare_config import NONE, CompareConfig
from distill_eval.errors import UsageError, require
from distill_eval.gate.options import CiOptions
from distill_eval.pipeline import told
from distill_eval.pipeline.adaptive import check_bounded, evaluate_until_decided
from distill_eval.pipeline.parity import Unquantized, measure_parity, plan_parity
from distill_eval.pipeline.report import ARTIFACT as REPORT
from distill_eval.pipeline.samples import file_name, roles
from distill_eval.record import to_json
from distill_eval.schema.model import ModelRef

if TYPE_CHECKING:
    from distill_eval.compare import Looked
    from distill_eval.evaluate.kept import PlannedTask, Progress, Scored
    from distill_eval.evaluate.run import Session
    from distill_eval.schema.gate import RuleResult
    from distill_eval.schema.retention import Power, Retention
    from distill_eval.store import Store


class Compared(NamedTuple):
    """A finished comparison and where it was written."""

    retention: Retention
    report: Path
    gate: tuple[RuleResult, ...]
    """Rules that were asked for, with --gate or --junit the criterion too; empty without any."""


def compare(config: CompareConfig, *, store: Store, progress: Progress, argv: Sequence[str]) -> Compared:
    """Evaluate, compare, and write `retention.json`, `samples-*.jsonl` and `report.md` to the output folder.

    Baselines are evaluated as students are, on the same documents. A model or a task that is named twice is done once.

    Args:
        config: What to compare.
        store: The evaluation cache.
        progress: Hears how far the evaluation is.
        argv: The command line, for the report.

    Raises:
        DistillEvalError: see `distill_eval.errors`; what was finished stays in the cache.
    """
    from distill_eval.compare import Evaluated
    from distill_eval.compare import compare as compare_runs
    from distill_eval.evaluate.run import Session
    from distill_eval.provenance import collect

    students = config.students
    options = replace(config.evaluation, tasks=tuple(dict.fromkeys(config.evaluation.tasks)))
    folder = _writable_folder(config)
    _check_baselines(config, store)
    pairs = _parity_pairs(config, store, progress)
    announced: dict[str, PlannedTask] = {}

    def announce(plan: dict[str, PlannedTask]) -> None:
        _announce(plan, config, progress)
        announced.update(plan)

    session = Session(options, store, progress, announce)
    extra = [ref for ref in dict.fromkeys(students.values()) if ref is not None and ref not in students]
    refs = [ModelRef.parse(config.teacher), *students, *extra]
    scored, looks = _evaluated(config, session, refs, announced, progress)
    teacher, *others = (Evaluated(run=one.run, samples=one.samples) for one in scored)
    known = dict(zip(refs[1:], others, strict=True))
    retention = compare_runs(
        teacher,
        others[: len(students)],
        config.criterion,
        baselines=[None if ref is None else known[ref] for ref in students.values()],
        seed=options.seed,
        provenance=collect(argv, session.device),
        looks=looks,
    )
    if not announced:  # all of it was in the cache
        _announce_again(retention, progress)
    retention = replace(retention, parity=measure_parity(config, pairs, others[: len(students)], store, progress))
    return _finished(config, folder, retention, scored)


def _evaluated(
    config: CompareConfig,
    session: Session,
    refs: Sequence[ModelRef],
    announced: Mapping[str, PlannedTask],
    progress: Progress,
) -> tuple[list[Scored], Sequence[Looked]]:
    """One evaluation per model; with --adaptive of the documents that were taken, and how they were."""
    engines = config.engines
    chosen = [config.teacher_engine, *(engines.get(ref, "auto") for ref in refs[1:])]
    if config.adaptive:
        return evaluate_until_decided(session, refs, chosen, config.criterion, announced, progress)
    return session.evaluate(refs, chosen), ()


def _finished(config: CompareConfig, folder: Path, retention: Retention, scored: Sequence[Scored]) -> Compared:
    """Judge the rules, write everything, and tell who was to be told."""
    from distill_eval.report.markdown import short

    gate = judge_comparison(config, retention)
    report = _write(folder, retention, gate, scored)
    told.tell(config.ci, folder, gate, short(retention, gate))
    return Compared(retention, report, gate)


def _announce(plan: Mapping[str, PlannedTask], config: CompareConfig, progress: Progress) -> None:
    """Refuse what cannot be judged as asked, and say what each task can show."""
    from distill_eval.compare import check_margin, planned_power
    from distill_eval.gate.judge import check_places

    check_margin(config.criterion, {name: task.kind for name, task in plan.items()})
    if config.adaptive:
        check_bounded(plan)
    check_places(config.rules.rules, plan.keys(), "task")
    for name, task in plan.items():
        power = planned_power(task.num_docs, kind=task.kind, level=config.level)
        progress.say(_detectable(name, task.num_docs, power))


def _announce_again(retention: Retention, progress: Progress) -> None:
    """What each task can show, as it is said before a task is scored."""
    from distill_eval.compare import planned_power

    for entry in {entry.task: entry for entry in retention.entries if entry.primary}.values():
        power = planned_power(entry.num_pairs, kind=entry.kind, level=retention.criterion.level)
        progress.say(_detectable(entry.task, entry.num_pairs, power))


def _writable_folder(config: CompareConfig) -> Path:
    """The output folder; refused before hours of work, as is a summary that nobody would see."""
    from distill_eval.store import check_folder

    told.check(config.ci)
    folder = config.output_dir.expanduser()
    require(
        not (folder / REPORT).exists(),
        f"--output-dir {folder} holds a report of several runs ({REPORT}), whose report.md this would replace: name "
        f"another folder, e.g. --output-dir {folder / 'retention'}",
    )
    check_folder(folder)
    return folder


def _parity_pairs(config: CompareConfig, store: Store, progress: Progress) -> dict[ModelRef, Unquantized | str]:
    """Which students need their engine's part told apart; none with --adaptive, whose documents are others."""
    pairs = plan_parity(config, store)
    if pairs and config.adaptive:
        progress.say("--adaptive: what the engine costs is not measured; compare without it for that")
        return {}
    return pairs


def _check_baselines(config: CompareConfig, store: Store) -> None:
    """Refuse a baseline that is the teacher or its student, by name or by content, before anything is scored."""
    from distill_eval.evaluate.models import locate

    trusted = config.evaluation.trust_remote_code
    weights = functools.cache(lambda ref: locate(ref, store.file_digest, trust_remote_code=trusted).weights_digest)
    teacher = ModelRef.parse(config.teacher)
    for student, baseline in config.students.items():
        for role, other in (("student", student), ("teacher", teacher)):
            if baseline is not None and (baseline == other or weights(baseline) == weights(other)):
                raise UsageError(
                    f"--baseline {baseline} is the {role} {other if baseline != other else 'itself'}: expected another "
                    f"model, the student trained without a teacher. Make one with distill-eval distill --baseline, or "
                    f"write {NONE} for a student without one"
                )


def judge_comparison(config: CompareConfig, retention: Retention) -> tuple[RuleResult, ...]:
    """The rules that a comparison was asked to keep, judged; nothing where none was asked for.

    Raises:
        UsageError: a rule is for a task that there is none of.
    """
    from distill_eval.gate.facts import of_retention
    from distill_eval.gate.judge import judge
    from distill_eval.report.rows import labels

    rules = config.rules.rules
    asked = rules or config.gate or config.ci != CiOptions()
    return judge(rules, of_retention(retention, labels(retention))) if asked else ()


def _write(folder: Path, retention: Retention, gate: tuple[RuleResult, ...], scored: Sequence[Scored]) -> Path:
    """Write everything, the report last; at no time does a report stand beside facts of another run."""
    from distill_eval.report.markdown import render
    from distill_eval.store import remove, write_atomic

    report, facts = folder / "report.md", folder / "retention.json"
    text, content = render(retention, gate), to_json(retention)
    samples = dict(_sample_files(scored, len(retention.students)))
    remove([report, facts, *told.older(folder)])
    for name, lines in samples.items():
        write_atomic(folder / name, lines)
    write_atomic(facts, content)
    write_atomic(report, text)
    remove([path for path in folder.glob("samples-*.jsonl") if path.name not in samples])
    return report


def _detectable(name: str, num_docs: int, power: Power) -> str:
    """What a task can show, as a line for the terminal."""
    if power.planned_detectable_drop is None:
        return f"{name}: {num_docs:,} documents; {power.reason}"
    drop = f"{power.planned_detectable_drop * 100:.1f} points"
    assumed = f"if the models disagree on {power.planned_discordance:.0%} of them"
    return f"{name}: {num_docs:,} documents can show a drop of {drop} ({power.power:.0%} power, {assumed})"


def _sample_files(scored: Sequence[Scored], num_students: int) -> list[tuple[str, str]]:
    """Name and text of one JSON-lines file per model (the teacher, students, baselines) and task."""
    from distill_eval.record import to_json_line

    files = []
    for role, one in zip(roles(num_students, len(scored) - 1 - num_students), scored, strict=True):
        for task, documents in one.samples.items():
            text = "".join(to_json_line(sample) for sample in documents)
            files.append((file_name(role, one.run.model.ref, task), text))
    return files
