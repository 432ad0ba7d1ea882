"""Whether a model's confidence on multiple-choice tasks is justified: expected calibration error.

A student that keeps its teacher's accuracy can still lose its sense of when it is right; quantization does that, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from distill_eval.compare.pairing import Evaluated
from distill_eval.schema.evals import Sample, TaskRun
from distill_eval.schema.retention import CalibrationError, Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NUM_BINS = 15
"""As Guo et al. 2017 (arXiv 1706.04599), section 5."""
METRIC, FILTER = "acc", "none"
"""lm-eval's: 1 where the option with the largest log-likelihood is the right one. Where it is a probability
(truthfulqa_mc2) no option is the right one."""
NUM_RESAMPLES = 999


def calibration_errors(models: Sequence[Evaluated], *, seed: int) -> list[CalibrationError]:
    """Every model on every multiple-choice task that it answered with log-likelihoods, in the order of both.

    Args:
        models: The teacher, then its students.
        seed: Of the bootstrap.
    """
    found = []
    for model in models:
        for task in model.run.tasks:
            if not _is_right_or_wrong(task):
                continue
            answers = [answer for sample in model.samples[task.task] if (answer := _answer(sample)) is not None]
            if answers:
                confidence, right = np.array(answers).T
                found.append(_error_of(model.run.model.ref, task.task, confidence, right, seed))
    return found


def expected_calibration_error(confidence: Floats, right: Floats) -> float:
    """Mean over bins of equal width of |share that is right - mean confidence|, weighted by their documents.

    Guo et al. 2017, equation 3. Of few documents it is too large: in a bin of n documents chance alone makes a
    difference of about sqrt(p (1 - p) / n).

    Args:
        confidence: Probability of the chosen option [n], 0 to 1.
        right: 1 where it was the right one, else 0 [n].
    """
    bins = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    surplus = np.bincount(bins, weights=right - confidence, minlength=NUM_BINS)
    return float(np.abs(surplus).sum() / len(confidence))


def _is_right_or_wrong(task: TaskRun) -> bool:
    return any((one.metric, one.filter, one.kind) == (METRIC, FILTER, "binary") for one in task.metrics)


def _answer(sample: Sample) -> tuple[float, float] | None:
    """Confidence in the chosen option, and whether it was right; `None` where the options have no log-likelihoods."""
    right = next((one.value for one in sample.metrics if (one.metric, one.filter) == (METRIC, FILTER)), None)
    if right is None or sample.num_options is None or len(sample.responses) < sample.num_options:
        return None
    responses = [json.loads(text) for text in sample.responses[: sample.num_options]]
    if not all(isinstance(response, list) for response in responses):
        return None
    return float(softmax([response[0] for response in responses]).max()), float(right)


def _error_of(ref: str, task: str, confidence: Floats, right: Floats, seed: int) -> CalibrationError:
    num = len(right)
    stderr = None
    if num > 1:
        drawn = np.random.default_rng(seed).integers(num, size=(NUM_RESAMPLES, num))
        stderr = float(np.std([expected_calibration_error(confidence[rows], right[rows]) for rows in drawn], ddof=1))
    return CalibrationError(
        model_ref=ref,
        task=task,
        num_docs=num,
        accuracy=float(right.mean()),
        mean_confidence=float(confidence.mean()),
        error=Estimate(
            value=expected_calibration_error(confidence, right),
            stderr=stderr,
            reason="one document has no spread" if stderr is None else None,
        ),
    )
