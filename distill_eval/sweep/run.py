"""The sweep: trials one after the other, each a run of `distill` in a folder of its own, ranked at the end.

    <output>/sweep-config.json   the options, for the check that a resumed sweep is the same one
    <output>/optuna.db           Optuna's study: what was tried, and how it went
    <output>/trial-000/          a run of `distill`; with --rank-by retention, the comparison in `retention/`
    <output>/sweep.json          the ranked trials

A killed sweep goes on with the trial that was running, from its last checkpoint.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill_eval.errors import ArtifactError, boundary, require
from distill_eval.provenance import collect
from distill_eval.record import to_json, to_jsonable
from distill_eval.schema.model import ModelRef
from distill_eval.schema.sweep import SweepRun
from distill_eval.store import write_atomic
from distill_eval.sweep.config import SweepConfig
from distill_eval.sweep.retention import mean_retention
from distill_eval.sweep.study import Study, require_optuna
from distill_eval.sweep.summary import summarize
from distill_eval.sweep.trials import Trials

if TYPE_CHECKING:
    from distill_eval.distill.ready import Ready

ARTIFACT = "sweep.json"
CONFIG = "sweep-config.json"
FREE = ("num_trials", "keep_best")
"""What a resumed sweep may change."""


def run(config: SweepConfig, *, argv: Sequence[str], say: Callable[[str], None] = print) -> SweepRun:
    """Train the student once per trial, write `sweep.json`, and keep the best students.

    Args:
        config: What to vary, and how to rank.
        argv: The command line, for the artifacts.
        say: Takes lines for the reader.

    Raises:
        UsageError: options that do not fit together, the models or the data; a folder with another sweep.
        DistillEvalError: see `distill_eval.errors`; what was finished is kept.
    """
    from distill_eval.distill.ready import make_ready

    require_optuna()
    _check_output(config)
    ready = make_ready(config.distill, say)
    output = config.distill.output_dir
    before = None
    if config.rank_by == "retention":
        with tempfile.TemporaryDirectory() as scratch:  # an unknown task leaves nothing behind
            before = mean_retention(config, config.distill.student, Path(scratch), argv)
    write_atomic(output / CONFIG, json.dumps(to_jsonable(config), indent=2) + "\n")
    study = Study(config, output, _steps_per_validation(config, ready))
    trials = Trials(config, study, ready, argv, say)
    while (trial := study.next()) is not None:
        trials.run(trial)
        trials.keep_best()
    trials.keep_best()
    result = _result(config, study, before, argv)
    write_atomic(output / ARTIFACT, to_json(result))
    return result


def _check_output(config: SweepConfig) -> None:
    """Refuse a folder with something else, before any long work."""
    from distill_eval.distill import settings

    output, resume = config.distill.output_dir, config.distill.resume
    if not output.exists():
        return
    require(output.is_dir(), f"--output-dir {output} is a file; name a folder")
    if not (output / CONFIG).is_file():
        require(not any(output.iterdir()), f"--output-dir {output} is not empty: name another folder")
        return
    with boundary(ArtifactError, f"cannot read {output / CONFIG}"):
        before = json.loads((output / CONFIG).read_text(encoding="utf-8"))
        now: dict[str, Any] = to_jsonable(config)
        runs = [before.pop("distill"), now.pop("distill")]
    for name in FREE:
        before.pop(name, None)
        now.pop(name)
    apart = settings.differences(before, now) + settings.differences(*runs)
    require(
        not apart,
        f"--output-dir {output} holds a sweep with other options: {'; '.join(apart)}. Give the same and --resume, "
        "or name another folder",
    )
    require(resume, f"--output-dir {output} holds this sweep: add --resume to go on with it, or name another folder")


def _steps_per_validation(config: SweepConfig, ready: Ready) -> int:
    from distill_eval.distill import settings

    training, train = config.distill.training, ready.course.texts.train
    steps = settings.num_steps(training, len(train) if isinstance(train, Sized) else None, 1)
    return settings.steps_per_validation(training, steps)


def _result(config: SweepConfig, study: Study, before: float | None, argv: Sequence[str]) -> SweepRun:
    return SweepRun(
        student=ModelRef.parse(config.distill.student),
        teachers=tuple(ModelRef.parse(name) for name in config.distill.teacher),
        sampler=config.sampler,
        pruner=config.prune,
        rank_by=config.rank_by,
        space=config.space,
        tasks=config.tasks,
        limit=config.limit,
        retention_before=before,
        trials=summarize(config, study),
        provenance=collect(argv, config.distill.training.device),
    )
