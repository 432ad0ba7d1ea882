"""Corpus metrics by the bootstrap."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from distill_eval.compare.resampled import Resampled, f1, mcc, resample

ANSWERS = st.lists(st.tuples(*(st.integers(0, 2) for _ in range(3))), min_size=2, max_size=30)


def items(gold, teacher, student):
    return [(json.dumps([g, t]), json.dumps([g, s])) for g, t, s in zip(gold, teacher, student, strict=True)]


def bootstrap(triples, aggregation="mcc", seed=0):
    return resample(items(*zip(*triples, strict=True)), aggregation, level=0.95, rng=np.random.default_rng(seed))


def noisy(num_docs, right=0.85, seed=1):
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 2, num_docs)
    answers = [np.where(rng.random(num_docs) < share, gold, 1 - gold) for share in (right, right - 0.05)]
    return list(zip(gold.tolist(), answers[0].tolist(), answers[1].tolist(), strict=True))


@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=50)
@given(ANSWERS)
def test_mcc_is_scikit_learns(triples):
    gold, teacher, student = zip(*triples, strict=True)
    found = bootstrap(triples)
    assert found.observed == pytest.approx((matthews_corrcoef(gold, student), matthews_corrcoef(gold, teacher)))


@settings(max_examples=50)
@given(ANSWERS)
def test_f1_is_scikit_learns(triples):
    triples = [tuple(min(answer, 1) for answer in triple) for triple in triples]
    gold, teacher, student = zip(*triples, strict=True)
    found = bootstrap(triples, "f1")
    expected = [f1_score(gold, answers, zero_division=0) for answers in (student, teacher)]
    assert found.observed == pytest.approx(expected)


def test_true_and_one_are_the_same_class():
    found = bootstrap([(True, 1, 0), (False, 0, False), (1, True, True), (0, 1, 0)], "f1")
    assert found.observed == pytest.approx((2 / 3, 0.8))


def test_the_interval_is_that_of_scipys_bootstrap():
    from scipy.stats import bootstrap as scipys

    triples = noisy(400)
    data = np.array(triples)

    def phi(one, other, axis):
        """Matthews' correlation of two classes is Pearson's."""
        one, other = (x - x.mean(axis=axis, keepdims=True) for x in (one, other))
        return (one * other).sum(axis) / np.sqrt((one**2).sum(axis) * (other**2).sum(axis))

    def statistic(gold, teacher, student, axis):
        return phi(gold, student, axis) - phi(gold, teacher, axis)

    rng = np.random.default_rng(0)
    expected = scipys(data.T, statistic, paired=True, n_resamples=9999, batch=1000, method="percentile", rng=rng)
    found = bootstrap(triples).linear(1.0, -1.0, 0.95)
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert found.stderr[0] == pytest.approx(expected.standard_error, rel=0.03)
    assert found.low[0] == pytest.approx(expected.confidence_interval.low, abs=0.03 * width)
    assert found.high[0] == pytest.approx(expected.confidence_interval.high, abs=0.03 * width)


def test_the_order_of_documents_is_nothing_and_the_seed_is_everything():
    triples = noisy(100)
    first, again, other = bootstrap(triples), bootstrap(triples[::-1]), bootstrap(triples, seed=9)
    assert first.linear(1.0, -1.0, 0.95) == again.linear(1.0, -1.0, 0.95)
    assert first.linear(1.0, -1.0, 0.95).low != other.linear(1.0, -1.0, 0.95).low


def test_exchanging_the_models_negates_the_difference():
    found = bootstrap(noisy(100))
    forth, back = found.linear(1.0, -1.0, 0.95), found.inverse().linear(1.0, -1.0, 0.95)
    assert back.value == pytest.approx(-forth.value)
    assert [back.low[0], back.high[0]] == pytest.approx([-forth.high[0], -forth.low[0]])
    assert found.inverse().ratio(0.0, 0.95).value == pytest.approx(1 / found.ratio(0.0, 0.95).value)


def test_the_same_answers_are_retention_one_with_a_width():
    triples = [(g, t, t) for g, t, _ in noisy(200)]
    found = bootstrap(triples)
    assert found.ratio(0.0, 0.95).value[0] == 1.0
    assert found.p_value() == 1.0
    difference = found.linear(1.0, -1.0, 0.95)
    assert difference.value[0] == 0.0
    assert difference.low[0] < -0.02
    assert difference.high[0] > 0.02


@pytest.mark.parametrize("aggregation", ["mcc", "f1"])
def test_five_documents_all_right_are_no_evidence(aggregation):
    found = bootstrap([(1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), (0, 0, 0)], aggregation)
    assert found.observed == (1.0, 1.0)
    assert found.linear(1.0, -0.95, 0.95).low[0] < -0.3


def test_a_teacher_without_a_score_has_no_ratio():
    found = bootstrap([(1, 0, 1), (0, 1, 0), (1, 0, 1), (0, 1, 0)])
    assert found.observed == pytest.approx((1.0, -1.0))
    assert np.isnan(found.ratio(0.0, 0.95).value[0])
    weak = bootstrap([(0, 0, 0)] * 6 + [(0, 1, 0)] * 5 + [(1, 1, 1)] * 6 + [(1, 0, 1)] * 5)
    assert weak.observed == pytest.approx((1.0, 1 / 11))
    assert [weak.ratio(0.0, 0.95).low[0], weak.ratio(0.0, 0.95).high[0]] == [-np.inf, np.inf]


def test_the_p_value_is_small_for_a_lost_student_only():
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 2, 300)
    lost = bootstrap(list(zip(gold.tolist(), gold.tolist(), rng.integers(0, 2, 300).tolist(), strict=True)))
    assert lost.p_value() == pytest.approx(2 / 10_000)
    assert bootstrap(noisy(60)).p_value() > 0.05


@pytest.mark.parametrize(
    ("triples", "aggregation", "reason"),
    [
        (
            [(0, 1, 1)],
            "bleu",
            "the aggregation bleu is not one whose uncertainty is known (f1, matthews_corrcoef, mcc)",
        ),
        ([("a", "b", "a")], "f1", "f1 is known for the answers 0 and 1 only, not for ['a', 'b']"),
        ([([1, 2], 1, 1)], "mcc", "its documents are not pairs of a gold label and an answer"),
        ([(n, n, n) for n in range(21)], "mcc", "21 distinct answers are more than the 20 of a classification"),
    ],
)
def test_what_is_not_known_is_said(triples, aggregation, reason):
    assert bootstrap(triples, aggregation) == reason


def test_undefined_scores_are_zero_as_in_scikit_learn():
    assert mcc(np.array([[4.0, 0.0], [3.0, 0.0]])) == 0.0
    assert f1(np.array([[4.0, 0.0], [0.0, 0.0]])) == 0.0
    assert isinstance(bootstrap([(1, 1, 1)]), Resampled)
