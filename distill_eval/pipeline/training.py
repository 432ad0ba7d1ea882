"""Make and train a student, and write the reports of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from distill_eval.device import is_main_process
from distill_eval.errors import ArtifactError, boundary, require
from distill_eval.record import record

if TYPE_CHECKING:
    from distill_eval.distill.config import DistillConfig
    from distill_eval.distill.ready import Ready
    from distill_eval.distill.stopping import OnValidation
    from distill_eval.schema.distill import DistillRun
    from distill_eval.schema.student import StudentInit
    from distill_eval.student.config import PrepareConfig


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


def prepare(config: PrepareConfig, *, argv: Sequence[str], say: Callable[[str], None]) -> StudentInit:
    """Make a student, and say what was cut and why in `student.md` beside its `student.json`.

    Raises:
        DistillEvalError: see `distill_eval.student.prepare.run`.
    """
    from distill_eval.report import student as report
    from distill_eval.student.prepare import run

    return run(config, argv=argv, say=say, describe=report.files)


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
    return _write_curves({folder: read_training(folder) for folder in config.runs}, config.output_dir or config.runs[0])


def read_training(folder: Path) -> DistillRun:
    """The `distill.json` of a finished training.

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
