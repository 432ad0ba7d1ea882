"""Optuna's record of a sweep, in a SQLite file that survives a killed process."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from distill_eval.errors import StoreError, UsageError, boundary
from distill_eval.sweep.config import SweepConfig
from distill_eval.sweep.space import Value, points

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

DATABASE = "optuna.db"
NUM_BEFORE_MEDIAN = 3
"""Trials that run to their end before a median of them means something."""
REASON = "reason"


def require_optuna() -> None:
    """Refuse a sweep where Optuna is not installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("optuna") is None:
        raise UsageError("sweep needs Optuna. Type: pip install 'distill-eval[sweep]'")


class Study:
    """The trials so far, and the next one. Every value is one of which less is better."""

    def __init__(self, config: SweepConfig, folder: Path, steps_per_validation: int) -> None:
        """Open the study, or begin it.

        Args:
            config: What to vary.
            folder: Where its file is.
            steps_per_validation: Optimizer steps between two validations.

        Raises:
            StoreError: the file cannot be written or read.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._config, self._path = config, folder / DATABASE
        with boundary(StoreError, f"cannot use {self._path}"):
            self._study = optuna.create_study(
                storage=f"sqlite:///{self._path}",
                study_name="sweep",
                load_if_exists=True,
                pruner=_pruner(config.prune, steps_per_validation),
            )
            if config.sampler == "grid":
                for point in points(config.dimensions):
                    self._study.enqueue_trial(point, skip_if_exists=True)

    def next(self) -> Trial | None:
        """The trial that a killed sweep was at, else a new one; `None` when there were as many as asked for."""
        import optuna

        trials = self.trials()
        going = [trial for trial in trials if trial.state == optuna.trial.TrialState.RUNNING]
        number = going[0].number if going else len([trial for trial in trials if trial.state.is_finished()])
        if number >= self._config.most_trials:
            return None
        # A sampler's draws depend on how often it was asked before; one per trial makes a resumed sweep draw the same.
        with boundary(StoreError, f"cannot use {self._path}"):
            self._study.sampler = optuna.samplers.TPESampler(seed=self._config.distill.training.seed + number)
            return optuna.Trial(self._study, going[0]._trial_id) if going else self._study.ask()

    def point(self, trial: Trial) -> dict[str, Value]:
        """The trial's value for each option that is varied."""
        with boundary(StoreError, f"cannot use {self._path}"):
            return {one.name: one.draw(trial) for one in self._config.dimensions}

    def is_worse(self, trial: Trial, step: int, value: float) -> bool:
        """Whether the trial is to be given up, now that it has this value at a validation."""
        with boundary(StoreError, f"cannot use {self._path}"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The reported value is ignored")  # a resumed trial says it again
            trial.report(value, step)
            return trial.should_prune()

    def finish(self, trial: Trial, value: float) -> None:
        """The trial came to this value."""
        with boundary(StoreError, f"cannot use {self._path}"):
            self._study.tell(trial, value)

    def give_up(self, trial: Trial, reason: str, *, failed: bool) -> None:
        """The trial was pruned, or came to no value."""
        from optuna.trial import TrialState

        with boundary(StoreError, f"cannot use {self._path}"):
            trial.set_user_attr(REASON, reason)
            self._study.tell(trial, state=TrialState.FAIL if failed else TrialState.PRUNED)

    def trials(self) -> list[FrozenTrial]:
        """All trials that were begun or are planned, in order."""
        with boundary(StoreError, f"cannot use {self._path}"):
            return self._study.get_trials(deepcopy=False)


def _pruner(name: str, steps_per_validation: int) -> BasePruner:
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=NUM_BEFORE_MEDIAN)
    if name == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=steps_per_validation, reduction_factor=2)
    return pruners.NopPruner()
