"""What a student kept of its teacher, as one number to rank by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distill_eval.compare_config import CompareConfig
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.pipeline import compare
from distill_eval.progress import ConsoleProgress
from distill_eval.store import Store
from distill_eval.sweep.config import SweepConfig


def mean_retention(config: SweepConfig, student: str, output: Path, argv: Sequence[str]) -> float | None:
    """Unweighted mean over the tasks; `None` where it is not defined, e.g. because the teacher's scores are 0.

    The teacher is evaluated once: its scores come from the evaluation cache after that.

    Args:
        config: With the tasks.
        student: Hub name or folder.
        output: Where the comparison goes, with its report.
        argv: The command line, for the report.

    Raises:
        DistillEvalError: see `distill_eval.errors`.
    """
    options = EvaluateOptions(
        tasks=config.tasks,
        limit=config.limit,
        include_path=config.include_path,
        device=config.distill.training.device,
    )
    asked = CompareConfig(teacher=config.distill.teacher[0], student=(student,), evaluation=options, output_dir=output)
    with ConsoleProgress() as progress:
        done = compare(asked, store=Store(), progress=progress, argv=argv)
    return done.retention.verdicts[0].mean_retention
