"""One step of a recipe, run; and whether an earlier process had finished it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.bench.config import BenchConfig
from distill_eval.compare_config import CompareConfig
from distill_eval.distill.cache_config import CacheTeacherConfig
from distill_eval.distill.config import DistillConfig
from distill_eval.errors import ServerError
from distill_eval.export.config import ExportConfig
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.pipeline import told
from distill_eval.pipeline.bench import bench, describe
from distill_eval.pipeline.comparison import compare
from distill_eval.pipeline.fidelity import fidelity
from distill_eval.pipeline.plan import Step
from distill_eval.pipeline.planned import write as plan
from distill_eval.pipeline.report import report
from distill_eval.pipeline.state import set_aside
from distill_eval.pipeline.training import CurvesConfig, curves, distill, prepare
from distill_eval.pipeline.variants import export, quantize
from distill_eval.plan.config import PlanConfig
from distill_eval.quantize.config import QuantizeConfig
from distill_eval.record import from_json
from distill_eval.report.plan import expectation
from distill_eval.report_config import ReportConfig
from distill_eval.schema.bench import BenchRun
from distill_eval.schema.export import Kind
from distill_eval.store.files import OUTPUT_OPTION, explained
from distill_eval.student.config import PrepareConfig

if TYPE_CHECKING:
    from distill_eval.evaluate.kept import Progress
    from distill_eval.store import Store


class Place(NamedTuple):
    """Where a run is."""

    number: int
    """Of the step, from 1."""
    num_steps: int
    name: str
    seconds_left: float | None
    """Of it and those behind it, as earlier runs took them; `None` where one was not measured before."""


def unseen(place: Place) -> None:
    """For a run that nobody watches."""
    del place


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
    stage: Callable[[Place], None] = unseen
    """Hears which step begins."""


def check_ready(step: Step, kind: Kind | None) -> None:
    """Refuse what a step would refuse for want of a package or of CI, before the hours that those in front may take.

    Args:
        step: Of the recipe.
        kind: Of the models that are exported; `None` where it is not known yet.

    Raises:
        UsageError: what to install, or to leave out.
    """
    match step.config:
        case QuantizeConfig():
            from distill_eval.quantize.job import require_library

            require_library(step.config)
        case ExportConfig():
            from distill_eval.export.run import require_packages

            require_packages(kind)
        case BenchConfig():
            from distill_eval.bench.run import require_engines

            require_engines(step.config)
        case CompareConfig() | ReportConfig():
            told.check(step.config.ci)
        case _:
            pass


def run_step(step: Step, tools: Tools) -> None:
    """Run one stage, or go on with it where an interrupted process left it.

    Raises:
        DistillEvalError: see the stage.
    """
    match step.config:
        case PlanConfig():
            tools.say(expectation(plan(step.config, argv=tools.argv, say=tools.say, store=tools.store).plan))
        case PrepareConfig():
            _prepare(step.config, tools)
        case CacheTeacherConfig():
            from distill_eval.distill.cache_stage import run as cache_teacher

            cache_teacher(step.config, say=tools.say)
        case DistillConfig():
            _distill(step.config, tools)
        case QuantizeConfig():
            _quantize(step.config, tools)
        case ExportConfig():
            _export(step.config, tools)
        case CompareConfig() | FidelityConfig() | BenchConfig() | ReportConfig():
            _measure(step.config, tools)


def _measure(config: CompareConfig | FidelityConfig | BenchConfig | ReportConfig, tools: Tools) -> None:
    match config:
        case CompareConfig():
            with tools.progress() as progress:
                compare(config, store=tools.store, progress=progress, argv=tools.argv)
        case FidelityConfig():
            fidelity(config, store=tools.store, argv=tools.argv, say=tools.say)
        case BenchConfig():
            _bench(config, tools)
        case ReportConfig():
            report(config, argv=tools.argv)


def _appeared(output: Path, artifact: str) -> bool:
    """Whether a folder that appears whole is there; what a killed process was writing is removed."""
    for left in output.parent.glob(f".{output.name}-*"):
        shutil.rmtree(left)
    return (output / artifact).is_file()


def _prepare(config: PrepareConfig, tools: Tools) -> None:
    from distill_eval.student.prepare import ARTIFACT

    if _appeared(config.output_dir, ARTIFACT):
        return
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


def _quantize(config: QuantizeConfig, tools: Tools) -> None:
    from distill_eval.quantize.run import ARTIFACT

    if _appeared(config.output_dir, ARTIFACT):
        return
    done = quantize(config, argv=tools.argv, say=tools.say)
    size = f"{done.size_bytes / 1e6:.1f} of {done.size_bytes_original / 1e6:.1f} MB"
    tools.say(f"{size}, mean KL {done.check.mean_kl:.4f} nats, top-1 agreement {done.check.top1_agreement:.1%}")
    for warning in done.warnings:
        tools.say(f"warning: {warning}")


def _export(config: ExportConfig, tools: Tools) -> None:
    from distill_eval.export.run import ARTIFACT

    if _appeared(config.output_dir, ARTIFACT):
        return
    done = export(config, argv=tools.argv, say=tools.say)
    tools.say(f"{done.graph.size_bytes / 1e6:.1f} of {done.original_size_bytes / 1e6:.1f} MB")


def _bench(config: BenchConfig, tools: Tools) -> None:
    from distill_eval.bench.run import ARTIFACT

    output = config.output_dir
    if (output / ARTIFACT).is_file():
        kept = from_json(BenchRun, (output / ARTIFACT).read_bytes(), source=str(output / ARTIFACT))
        if kept.complete:
            describe(kept, output)
            return
    with explained(output, OUTPUT_OPTION, verb="rename"):
        aside = set_aside(output)
    if aside:
        tools.say(f"a benchmark is not gone on with: measured again, and what was there is kept in {aside}")
    done = bench(config, argv=tools.argv, say=tools.say)
    if done.ended is not None and done.ended.interrupted:
        raise KeyboardInterrupt
    if done.ended is not None:
        raise ServerError(f"{done.ended}; what was measured is in {output}")
