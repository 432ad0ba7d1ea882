"""The verbs that make students: `prepare`, `distill`, `curves`, `sweep`, `cache-teacher` and `answer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from distill_eval.device import is_main_process

if TYPE_CHECKING:
    from distill_eval.distill.answer.config import AnswerConfig
    from distill_eval.distill.cache_config import CacheTeacherConfig
    from distill_eval.distill.config import DistillConfig
    from distill_eval.pipeline import CurvesConfig
    from distill_eval.student.config import PrepareConfig
    from distill_eval.sweep.config import SweepConfig


def say(line: str) -> None:
    """A line for the reader, at once."""
    print(line, flush=True)


def prepare(config: PrepareConfig, argv: Sequence[str]) -> int:
    """Make a student."""
    from distill_eval import pipeline

    made = pipeline.prepare(config, argv=argv, say=say)
    kept = f"{made.student_num_parameters:,} of {made.teacher_num_parameters:,} parameters"
    if made.loss is not None and made.calibration is not None:
        print(f"Loss on {made.calibration.source}: {made.loss.teacher:.3f} -> {made.loss.student:.3f} nats")
    print(f"Student: {config.output_dir} ({kept}); what was cut and why: {config.output_dir / 'student.md'}")
    return 0


def distill(config: DistillConfig, argv: Sequence[str]) -> int:
    """Train a student, by way of assistants where a chain is asked for."""
    if config.chain:
        from distill_eval.verbs.run import run_chain

        return run_chain(config, argv)
    from distill_eval import pipeline
    from distill_eval.report.classifier import print_finished

    done = pipeline.distill(config, argv=argv, say=say)
    if not is_main_process():
        return 0
    print_finished(done, Console())
    print(f"Student: {config.output_dir}; its curves: {config.output_dir / 'training.md'}")
    return 0


def curves(config: CurvesConfig, argv: Sequence[str]) -> int:
    """Draw the curves of finished trainings again."""
    from distill_eval import pipeline

    del argv
    print(f"Curves: {pipeline.curves(config)}")
    return 0


def sweep(config: SweepConfig, argv: Sequence[str]) -> int:
    """Train one student with several settings."""
    from distill_eval.sweep.run import run
    from distill_eval.sweep.table import print_trials

    done = run(config, argv=argv, say=say)
    console = Console()
    print_trials(done, console if console.is_terminal else Console(width=100))
    print(f"Sweep: {config.distill.output_dir / 'sweep.json'}")
    return 0


def cache_teacher(config: CacheTeacherConfig, argv: Sequence[str]) -> int:
    """Ask the teacher once, for many students."""
    from distill_eval.distill.cache_stage import run

    del argv
    manifest = run(config, say=say)
    size = f"{manifest.size_bytes / 1e6:.1f} MB, {manifest.bytes_per_token or 0:.0f} bytes per token"
    print(f"Cached teacher: {config.output_dir} ({manifest.num_rows:,} tokens, {size})")
    return 0


def answer(config: AnswerConfig, argv: Sequence[str]) -> int:
    """Have a teacher write answers."""
    from distill_eval.distill.answer.stage import DATA, run

    done = run(config, argv=argv, say=say)
    cut_off = "kept" if done.keeps_cut_off else "left out"
    print(
        f"{done.num_completed:,} completed, {done.num_cut_off:,} cut off at {config.max_new_tokens:,} tokens "
        f"({cut_off}), {done.num_empty:,} empty, {done.num_errored:,} errored"
    )
    if done.first_error is not None:
        print(f"The same command asks again for what errored. The first error: {done.first_error}")
    print(f"Answers: {config.output_dir / DATA} ({done.num_rows:,} rows)")
    return 0
