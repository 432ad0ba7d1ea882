"""The order of the stages, and the reports that are written of what they did."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tyro.conf import Positional

from distill_eval.device import is_main_process
from distill_eval.errors import ArtifactError, UsageError, boundary, require
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.record import record, to_json
from distill_eval.schema.model import ModelRef

if TYPE_CHECKING:
    from distill_eval.distill.config import DistillConfig
    from distill_eval.distill.ready import Ready
    from distill_eval.distill.stopping import OnValidation
    from distill_eval.evaluate.kept import PlannedTask, Progress, Scored
    from distill_eval.schema.distill import DistillRun
    from distill_eval.schema.retention import Criterion, Power, Retention
    from distill_eval.schema.student import StudentInit
    from distill_eval.store import Store
    from distill_eval.student.config import PrepareConfig

DEFAULT_MIN_RETENTION = 0.95


@record
class CompareConfig:
    """What a student kept of its teacher, task by task, and whether the loss is real."""

    teacher: str
    """Hub name, NAME@REVISION, or a folder."""
    student: tuple[str, ...]
    """One or more students, comma-separated; they share one evaluation of the teacher."""
    evaluation: EvaluateOptions
    min_retention: float | None = None
    """A task passes when student - min_retention * teacher is above 0, interval included (default: 0.95)."""
    margin: float | None = None
    """Instead: a task passes when student - teacher + margin is above 0, in the metric's own unit."""
    level: float = 0.95
    """Level of all confidence intervals."""
    gate: bool = False
    """Exit with 0 when every student passes, 3 when one fails, 4 when one is inconclusive."""
    output_dir: Path = field(default_factory=lambda: Path("retention"))
    """Where retention.json, samples-*.jsonl and report.md go."""

    def __post_init__(self) -> None:
        require(
            bool(self.student) and all(self.student),
            "--student: expected one or more models, e.g. --student org/a,org/b",
        )
        require(0 < self.level < 1, f"--level {self.level:g}: expected a number between 0 and 1, e.g. 0.95")
        both = self.min_retention is not None and self.margin is not None
        require(not both, "--margin and --min-retention are two ways to say the same: give one of them")
        r, m = self.min_retention, self.margin
        require(r is None or 0 < r <= 1, f"--min-retention {r}: expected a share between 0 and 1, e.g. 0.95")
        require(
            m is None or 0 <= m < math.inf, f"--margin {m}: expected 0 or more, e.g. 0.02 for two points of accuracy"
        )

    @property
    def criterion(self) -> Criterion:
        """The criterion in force, defaults filled in."""
        from distill_eval.schema.retention import Criterion

        share = self.min_retention
        if share is None and self.margin is None:
            share = DEFAULT_MIN_RETENTION
        return Criterion(min_retention=share, margin=self.margin, level=self.level)


@record
class CurvesConfig:
    """Write the report of a training again, with other runs such as its baseline beside it."""

    runs: Positional[tuple[Path, ...]]
    """Folders of `distill-eval distill`; the text is about the first one."""
    output_dir: Path | None = None
    """Where training.md and curves.svg go (default: the first folder)."""

    def __post_init__(self) -> None:
        require(bool(self.runs), "curves: name the folder of a run, e.g. runs/student, and of others beside it")
        most = 6  # colors and dashes that are told apart
        require(len(self.runs) <= most, f"curves: {len(self.runs)} runs, expected {most} at most in one picture")


class Compared(NamedTuple):
    """A finished comparison and where it was written."""

    retention: Retention
    report: Path


def compare(config: CompareConfig, *, store: Store, progress: Progress, argv: Sequence[str]) -> Compared:
    """Evaluate, compare, and write `retention.json`, `samples-*.jsonl` and `report.md` to the output folder.

    A model or a task that is named twice is done once.

    Args:
        config: What to compare.
        store: The evaluation cache.
        progress: Hears how far the evaluation is.
        argv: The command line, for the report.

    Raises:
        DistillEvalError: see `distill_eval.errors`; what was finished stays in the cache.
    """
    from distill_eval.compare import Evaluated, check_margin, planned_power
    from distill_eval.compare import compare as compare_runs
    from distill_eval.evaluate.run import Session
    from distill_eval.provenance import collect

    students = dict.fromkeys(ModelRef.parse(text) for text in config.student)
    options = replace(config.evaluation, tasks=tuple(dict.fromkeys(config.evaluation.tasks)))
    folder = config.output_dir.expanduser()
    _check_output(folder)
    announced: dict[str, PlannedTask] = {}

    def announce(plan: dict[str, PlannedTask]) -> None:
        check_margin(config.criterion, {name: task.kind for name, task in plan.items()})
        for name, (num_docs, kind) in plan.items():
            progress.say(_detectable(name, num_docs, planned_power(num_docs, kind=kind, level=config.level)))
        announced.update(plan)

    session = Session(options, store, progress, announce)
    scored = session.evaluate([ModelRef.parse(config.teacher), *students])
    evaluated = [Evaluated(run=one.run, samples=one.samples) for one in scored]
    provenance = collect(argv, session.device)
    retention = compare_runs(evaluated[0], evaluated[1:], config.criterion, seed=options.seed, provenance=provenance)
    if not announced:  # all of it was in the cache
        for entry in {entry.task: entry for entry in retention.entries if entry.primary}.values():
            power = planned_power(entry.num_pairs, kind=entry.kind, level=config.level)
            progress.say(_detectable(entry.task, entry.num_pairs, power))
    return Compared(retention, _write(folder, retention, scored))


def _write(folder: Path, retention: Retention, scored: Sequence[Scored]) -> Path:
    """Write everything, the report last; at no time does a report stand beside facts of another run."""
    from distill_eval.report.markdown import render
    from distill_eval.store import write_atomic

    report, facts = folder / "report.md", folder / "retention.json"
    text, content = render(retention), to_json(retention)
    samples = dict(_sample_files(scored))
    _remove([report, facts])
    for name, lines in samples.items():
        write_atomic(folder / name, lines)
    write_atomic(facts, content)
    write_atomic(report, text)
    _remove([path for path in folder.glob("samples-*.jsonl") if path.name not in samples])
    return report


def _remove(files: Sequence[Path]) -> None:
    """Remove what an earlier run left."""
    from distill_eval.store.files import OUTPUT_OPTION, explained

    for path in files:
        with explained(path, OUTPUT_OPTION, verb="remove"):
            path.unlink(missing_ok=True)


def _detectable(name: str, num_docs: int, power: Power) -> str:
    """What a task can show, as a line for the terminal."""
    if power.planned_detectable_drop is None:
        return f"{name}: {num_docs:,} documents; {power.reason}"
    drop = f"{power.planned_detectable_drop * 100:.1f} points"
    assumed = f"if the models disagree on {power.planned_discordance:.0%} of them"
    return f"{name}: {num_docs:,} documents can show a drop of {drop} ({power.power:.0%} power, {assumed})"


def _check_output(folder: Path) -> None:
    """Refuse an output folder that cannot be written, before hours of work."""
    from distill_eval.store import write_atomic

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output-dir {folder} is a file; name a folder")
    probe = folder / ".distill-eval-write-test"
    write_atomic(probe, "")
    probe.unlink()


def _sample_files(scored: Sequence[Scored]) -> list[tuple[str, str]]:
    """Name and text of one JSON-lines file per model and task."""
    from distill_eval.record import to_json_line

    files = []
    for place, one in enumerate(scored):
        role = "teacher" if place == 0 else f"student{place if len(scored) > 2 else ''}"
        model = _slug(Path(one.run.model.ref).name)
        for task, samples in one.samples.items():
            text = "".join(to_json_line(sample) for sample in samples)
            files.append((f"samples-{role}-{model}-{_slug(task)}.jsonl", text))
    return files


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)


def prepare(config: PrepareConfig, *, say: Callable[[str], None]) -> StudentInit:
    """Make a student, and say what was cut and why in `student.md` beside its `student.json`.

    Raises:
        DistillEvalError: see `distill_eval.student.prepare.run`.
    """
    from distill_eval.report import student as report
    from distill_eval.student.prepare import run

    return run(config, say=say, describe=report.files)


def distill(
    config: DistillConfig,
    *,
    argv: Sequence[str],
    say: Callable[[str], None],
    ready: Ready | None = None,
    on_validation: OnValidation | None = None,
) -> DistillRun:
    """Train a student, and draw its curves in `training.md` beside its `distill.json`.

    The arguments are those of `distill_eval.distill.run.run`.

    Raises:
        DistillEvalError: see `distill_eval.distill.run.run`.
    """
    from distill_eval.distill.run import run

    done = run(config, argv=argv, say=say, ready=ready, on_validation=on_validation)
    if is_main_process():
        _write_curves({config.output_dir: done}, config.output_dir)
    return done


def curves(config: CurvesConfig) -> Path:
    """Write `training.md` and `curves.svg` of a finished run, with others beside it; returns the text's path.

    Raises:
        ArtifactError: a folder holds no finished run, or one of another version.
        StoreError: the output folder cannot be written.
    """
    return _write_curves({folder: read_run(folder) for folder in config.runs}, config.output_dir or config.runs[0])


def read_run(folder: Path) -> DistillRun:
    """The `distill.json` of a finished run.

    Raises:
        ArtifactError: there is none, it cannot be read, or it is of another version.
    """
    from distill_eval.record import from_json
    from distill_eval.schema.distill import SCHEMA_VERSION, DistillRun

    path = folder.expanduser() / "distill.json"
    if not path.is_file():
        raise ArtifactError(
            f"{folder} holds no finished run: expected distill.json, which `distill-eval distill` writes"
        )
    with boundary(ArtifactError, f"cannot read {path}"):
        run = from_json(DistillRun, path.read_bytes(), source=str(path))
    if run.version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} is of version {run.version}, expected {SCHEMA_VERSION}: train again, or use the "
            "distill-eval that wrote it"
        )
    return run


def _write_curves(runs: Mapping[Path, DistillRun], folder: Path) -> Path:
    from distill_eval.report import training as report
    from distill_eval.store import write_atomic

    short = {path: path.expanduser().resolve().name for path in runs}
    taken = list(short.values())
    named = {name if taken.count(name) == 1 else str(path): runs[path] for path, name in short.items()}
    for file, text in report.files(named).items():
        write_atomic(folder.expanduser() / file, text)
    return folder / report.TEXT
