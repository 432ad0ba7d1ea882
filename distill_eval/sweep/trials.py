"""One trial of a sweep: a run of `distill` in its own folder, its value, and whether its student is kept."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distill_eval.checkpoint import remove_weights
from distill_eval.errors import StoreError, TrainingError, boundary
from distill_eval.pipeline.training import distill, read_training
from distill_eval.schema.distill import DistillRun
from distill_eval.sweep.config import SweepConfig
from distill_eval.sweep.retention import mean_retention
from distill_eval.sweep.space import Point, at
from distill_eval.sweep.study import Study

if TYPE_CHECKING:
    from optuna import Trial

    from distill_eval.distill.ready import Ready

RETENTION = "retention"


class Pruned(Exception):  # noqa: N818  # no error: it carries the end of a trial through the trainer
    """Raised at a validation at which a trial is given up."""


class Trials:
    """Runs the trials that a study hands out."""

    def __init__(
        self, config: SweepConfig, study: Study, ready: Ready, argv: Sequence[str], say: Callable[[str], None]
    ) -> None:
        """Prepare.

        Args:
            config: The sweep.
            study: What was tried.
            ready: Models and data, which all trials share.
            argv: The command line, for the artifacts.
            say: Takes lines for the reader.
        """
        self._config, self._study, self._ready, self._argv, self._say = config, study, ready, argv, say

    def run(self, trial: Trial) -> None:
        """Train, measure, and tell the study.

        Raises:
            DistillEvalError: what would go wrong in every trial.
        """
        point = self._study.point(trial)
        folder = trial_folder(self._config, trial.number)
        name = f"trial {trial.number + 1} of {self._config.most_trials}"
        self._say(f"{name}: {', '.join(f'{option} {_short(value)}' for option, value in point.items())}")
        try:
            value = self._value(trial, point, folder)
        except Pruned as end:
            self._study.give_up(trial, str(end), failed=False)
            self._say(f"{name}: {end}")
        except TrainingError as error:
            self._study.give_up(trial, str(error), failed=True)
            self._say(f"{name}: {error}")
        else:
            self._study.finish(trial, value)
        _tidy(folder)

    def keep_best(self) -> None:
        """Remove the weights of all finished trials but the best."""
        for trial in ranked(self._study)[self._config.keep_best :]:
            remove_weights(trial_folder(self._config, trial))

    def _value(self, trial: Trial, point: Point, folder: Path) -> float:
        from distill_eval.distill.output import ARTIFACT

        if (folder / ARTIFACT).is_file():  # killed after the training
            done = read_training(folder)
        else:
            config = replace(at(self._config.distill, point), output_dir=folder, resume=True)
            done = distill(config, argv=self._argv, say=self._say, ready=self._ready, on_validation=self._watch(trial))
        value = self._measured(done, folder, trial)
        if value is None or not math.isfinite(value):
            raise TrainingError(f"{self._config.rank_by} has no value after training")
        return value

    def _measured(self, done: DistillRun, folder: Path, trial: Trial) -> float | None:
        if self._config.rank_by == "validation":
            return done.after.hard_loss
        if self._config.rank_by == "kl":
            return done.after.kl
        found = mean_retention(self._config, str(folder), folder / RETENTION, self._argv)
        trial.set_user_attr(RETENTION, found)
        return None if found is None else -found

    def _watch(self, trial: Trial) -> Callable[[int, int, Mapping[str, float]], None]:
        metric = watched(self._config)

        def heard(step: int, num_steps: int, metrics: Mapping[str, float]) -> None:
            if self._study.is_worse(trial, step, metrics[metric]) and step < num_steps:
                raise Pruned(f"pruned at step {step} of {num_steps}: {metric} {metrics[metric]:.3f}")

        return heard


def watched(config: SweepConfig) -> str:
    """What pruning looks at, as the log names it."""
    return "eval_kl" if config.rank_by == "kl" else "eval_loss"


def ranked(study: Study) -> list[int]:
    """The numbers of the finished trials, best first."""
    from optuna.trial import TrialState

    done = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    return [trial.number for trial in sorted(done, key=lambda trial: (trial.value, trial.number))]


def trial_folder(config: SweepConfig, number: int) -> Path:
    """Where a trial is."""
    return config.distill.output_dir / f"trial-{number:03}"


def _tidy(folder: Path) -> None:
    """Remove the checkpoints of a trial that is over."""
    with boundary(StoreError, f"cannot remove the checkpoints below {folder}"):
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
