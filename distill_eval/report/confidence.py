"""How far models' confidence is from their accuracy, as text."""

from __future__ import annotations

from collections.abc import Mapping

from distill_eval.report import escape, numbers
from distill_eval.report.sections import folded, plain_table
from distill_eval.schema.retention import CalibrationError, Estimate, Retention

EXPLANATION = (
    "Confidence is the probability that a model gives the option it chooses, among the options. Expected calibration "
    "error: the mean difference between confidence and accuracy over 15 bins of confidence (Guo et al. 2017). +-: "
    "standard error by the bootstrap. Of few documents it is too large."
)


def section(retention: Retention, labels: Mapping[str, str]) -> list[str]:
    """The section, or nothing where no task has options."""
    order = [task.task for task in retention.tasks]
    found = sorted(retention.calibration_errors, key=lambda one: order.index(one.task))
    if not found:
        return []
    table = {
        "task": [escape.text(one.task) for one in found],
        "model": [escape.text(labels[one.model_ref]) for one in found],
        "n": [numbers.count(one.num_docs) for one in found],
        "accuracy": [numbers.percent(one.accuracy) for one in found],
        "mean confidence": [numbers.percent(one.mean_confidence) for one in found],
        "calibration error": [_error(one) for one in found],
    }
    shown = folded(plain_table(table, numeric=frozenset(table) - {"task", "model"}), len(found))
    return [f"## Confidence\n\n{EXPLANATION}\n\n{shown}"]


def _error(one: CalibrationError) -> str:
    error: Estimate = one.error
    shown = numbers.optional(error.value, numbers.percent)
    return shown if error.stderr is None else f"{shown} +- {numbers.percent(error.stderr)}"
