"""A report's numbers into the trackers that people keep their runs in, each through its own client.

A client is imported when it is asked for and handed on as a module, so that nothing here needs any of them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, TypeAlias

from distill_eval.errors import PublishError, UsageError, boundary
from distill_eval.report import tracked
from distill_eval.schema.report import Report

PROJECT = "distill-eval"
"""Under which runs are kept unless the client's own variable names another."""
MOST_CHARACTERS = 500
"""Of a label in MLflow's stores of older versions."""

Log: TypeAlias = Callable[[Any, str, Mapping[str, float], Mapping[str, str]], None]
"""Takes the client's module, the run's name, numbers and labels."""


def require(names: Sequence[str]) -> None:
    """Refuse a tracker that is not installed, before any work.

    Raises:
        UsageError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise UsageError(f"--{name}: its client is not installed. Type: pip install {name}")


def log(name: str, report: Report, run_name: str, client: Any = None) -> int:
    """Send the report to one tracker.

    Args:
        name: `wandb`, `mlflow` or `trackio`.
        report: Whose numbers.
        run_name: What the run is called there.
        client: The tracker's module; imported where it is not given.

    Returns:
        How many numbers were sent.

    Raises:
        PublishError: the client failed.
    """
    figures = tracked.numbers(report)
    with boundary(PublishError, f"--{name}: the report was written, but {name} did not take its numbers"):
        LOGS[name](client or importlib.import_module(name), run_name, figures, tracked.labels(report))
    return len(figures)


def _wandb(wandb: Any, run_name: str, figures: Mapping[str, float], labels: Mapping[str, str]) -> None:
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    with wandb.init(project=project, name=run_name, job_type="report", config=dict(labels)) as run:
        run.log(dict(figures))


def _mlflow(mlflow: Any, run_name: str, figures: Mapping[str, float], labels: Mapping[str, str]) -> None:
    if "MLFLOW_EXPERIMENT_NAME" not in os.environ and "MLFLOW_EXPERIMENT_ID" not in os.environ:
        mlflow.set_experiment(PROJECT)
    with mlflow.start_run(run_name=run_name):
        mlflow.log_params({key: text[:MOST_CHARACTERS] for key, text in labels.items()})
        mlflow.log_metrics(dict(figures))


def _trackio(trackio: Any, run_name: str, figures: Mapping[str, float], labels: Mapping[str, str]) -> None:
    trackio.init(project=os.environ.get("TRACKIO_PROJECT", PROJECT), name=run_name, config=dict(labels))
    try:
        trackio.log(dict(figures))
    finally:
        trackio.finish()


LOGS: dict[str, Log] = {"wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}
"""By the name of the option, which is that of the client's module and of its package."""
