"""One step of a recipe, run; and whether an earlier process had finished it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig
from distill_eval.pipeline.comparison import compare
from distill_eval.pipeline.plan import Step
from distill_eval.pipeline.training import CurvesConfig, curves, distill, prepare
from distill_eval.student.config import PrepareConfig

if TYPE_CHECKING:
    from distill_eval.evaluate.kept import Progress
    from distill_eval.store import Store


class Tools(NamedTuple):
    """What a run needs besides its recipe."""

    store: Store
    """The evaluation cache, which remembers digests of files too."""
    say: Callable[[str], None]
    """Takes lines for the reader."""
    progress: Callable[[], AbstractContextManager[Progress]]
    """Shows how far an evaluation is."""
    argv: Sequence[str]
    """The command line, for the artifacts."""


def run_step(step: Step, tools: Tools) -> None:
    """Run one stage, or go on with it where an interrupted process left it.

    Raises:
        DistillEvalError: see the stage.
    """
    config = step.config
    if isinstance(config, PrepareConfig):
        _prepare(config, tools)
    elif isinstance(config, CacheTeacherConfig):
        from distill_eval.distill.cache_stage import run as cache_teacher

        cache_teacher(config, say=tools.say)
    elif isinstance(config, DistillConfig):
        _distill(config, tools)
    else:
        with tools.progress() as progress:
            compare(config, store=tools.store, progress=progress, argv=tools.argv)


def _prepare(config: PrepareConfig, tools: Tools) -> None:
    from distill_eval.student.prepare import ARTIFACT

    output = config.output_dir
    for left in output.parent.glob(f".{output.name}-*"):
        shutil.rmtree(left)  # where a killed process was writing
    if (output / ARTIFACT).is_file():
        return  # the folder appears whole
    made = prepare(config, argv=tools.argv, say=tools.say)
    tools.say(f"{made.student_num_parameters:,} of {made.teacher_num_parameters:,} parameters")


def _distill(config: DistillConfig, tools: Tools) -> None:
    from distill_eval.distill import checkpoints
    from distill_eval.distill.output import ARTIFACT, CONFIG

    output = config.output_dir
    if (output / ARTIFACT).is_file():
        checkpoints.keep_last(output, 0)  # it is written last, but for their removal and the curves
        curves(CurvesConfig(runs=(output,)))
        return
    done = distill(replace(config, resume=(output / CONFIG).is_file()), argv=tools.argv, say=tools.say)
    tools.say(f"trained for {done.num_steps:,} steps{f': {done.stopped}' if done.stopped else ''}")
    for finding in done.findings:
        tools.say(f"{finding.weight}: {finding.text}")
