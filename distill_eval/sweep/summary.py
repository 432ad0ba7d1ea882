"""A study and its folders as ranked records."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from distill_eval.checkpoint import weight_files
from distill_eval.pipeline.training import read_training
from distill_eval.schema.distill import Point
from distill_eval.schema.sweep import SweepTrial
from distill_eval.sweep.config import SweepConfig
from distill_eval.sweep.space import at
from distill_eval.sweep.study import REASON, Study
from distill_eval.sweep.trials import RETENTION, ranked, trial_folder, watched

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def summarize(config: SweepConfig, study: Study) -> tuple[SweepTrial, ...]:
    """The trials that are over: by rank, then those without one, by number.

    Raises:
        ArtifactError: a finished trial's `distill.json` cannot be read.
    """
    order = ranked(study)
    found = [_trial(config, trial, order) for trial in study.trials() if trial.state.is_finished()]
    return tuple(sorted(found, key=lambda trial: (trial.rank or len(found) + 1, trial.number)))


def _trial(config: SweepConfig, trial: FrozenTrial, order: list[int]) -> SweepTrial:
    from distill_eval.distill.output import ARTIFACT

    folder = trial_folder(config, trial.number)
    run = at(config.distill, trial.params)
    done = read_training(folder) if (folder / ARTIFACT).is_file() else None
    steps = sorted(trial.intermediate_values)
    return SweepTrial(
        number=trial.number,
        folder=folder.name,
        state=_state(trial),
        reason=trial.user_attrs.get(REASON),
        rank=order.index(trial.number) + 1 if trial.number in order else None,
        loss=run.loss.loss,
        temperature=run.loss.temperature,
        alpha=run.alpha,
        learning_rate=run.training.learning_rate,
        num_steps=done.num_steps if done else max(steps, default=0),
        validation_loss=done.after.hard_loss if done else None,
        kl=done.after.kl if done else None,
        retention=trial.user_attrs.get(RETENTION),
        validations=tuple(
            Point(step=step, values={watched(config): trial.intermediate_values[step]})
            for step in steps
            if math.isfinite(trial.intermediate_values[step])
        ),
        has_weights=any(file.is_file() for file in weight_files(folder)),
    )


def _state(trial: FrozenTrial) -> Literal["finished", "pruned", "failed"]:
    from optuna.trial import TrialState

    if trial.state == TrialState.COMPLETE:
        return "finished"
    return "pruned" if trial.state == TrialState.PRUNED else "failed"
