import json
import math
from dataclasses import replace

import numpy as np
import pytest
from unit.compare.build import Column, Task, evaluated

from distill_eval.compare.confidence import calibration_errors, expected_calibration_error


def test_a_worked_example():
    """Ten documents in three bins: |1/2 - 0.5|, |1/3 - 0.7|, |4/5 - 0.95|, weighted by 2, 3 and 5."""
    confidence = np.array([0.49, 0.51, *[0.7] * 3, *[0.95] * 5])
    right = np.array([1, 0, 1, 0, 0, 1, 1, 1, 1, 0.0])
    expected = (2 * abs(0.5 - 0.5) + 3 * abs(1 / 3 - 0.7) + 5 * abs(0.8 - 0.95)) / 10
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("confidence", "right", "expected"), [(1.0, 1.0, 0.0), (1.0, 0.0, 1.0), (0.25, 0.0, 0.25), (0.0, 1.0, 1.0)]
)
def test_extremes(confidence, right, expected):
    assert expected_calibration_error(np.full(7, confidence), np.full(7, right)) == pytest.approx(expected)


def test_a_model_that_knows_what_it_knows_has_none():
    """Right with the probability that it says: the error shrinks with the number of documents."""
    generator = np.random.default_rng(3)
    confidence = generator.uniform(0.25, 1, size=200_000)
    right = (generator.uniform(size=200_000) < confidence).astype(float)
    assert expected_calibration_error(confidence, right) < 0.005
    assert expected_calibration_error(np.clip(confidence + 0.1, 0, 1), right) == pytest.approx(0.09, abs=0.02)


def model(values, likelihoods, kind="binary"):
    quiz = Task([Column(values, kind=kind)], options=len(likelihoods[0]))
    made = evaluated("m", {"quiz": quiz, "text": Task([Column(values)])})
    samples = [
        replace(sample, responses=tuple(json.dumps([value, False]) for value in options))
        for sample, options in zip(made.samples["quiz"], likelihoods, strict=True)
    ]
    return made._replace(samples={**made.samples, "quiz": samples})


def test_confidence_is_the_softmax_of_the_options():
    made = model([1, 0], [[-1.0, -2.0, -3.0], [-5.0, -4.0, -9.0]])
    (found,) = calibration_errors([made], seed=0)
    sums = [sum(math.exp(value) for value in row) for row in ([-1, -2, -3], [-5, -4, -9])]
    first, second = math.exp(-1) / sums[0], math.exp(-4) / sums[1]
    assert (found.task, found.num_docs, found.accuracy) == ("quiz", 2, 0.5)
    assert found.mean_confidence == pytest.approx((first + second) / 2)
    assert found.error.value == pytest.approx(((1 - first) + second) / 2)  # in two bins
    assert found.error.stderr > 0


def test_a_probability_mass_says_of_no_option_that_it_is_right():
    """As acc of truthfulqa_mc2; a real value of 1 is none, either."""
    assert calibration_errors([model([0.7, 1.0], [[-1.0, -2.0], [-5.0, -4.0]], kind="real")], seed=0) == []


def test_one_document_has_no_spread():
    (found,) = calibration_errors([model([1], [[-1.0, -2.0]])], seed=0)
    assert found.error.stderr is None
    assert found.error.reason == "one document has no spread"
