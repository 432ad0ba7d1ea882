"""Perplexities: bits per byte carry the verdict, and each is shown under lm-eval's own name."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp, ttest_rel
from unit.compare.build import Column, Task, evaluated, run, text

RNG = np.random.default_rng(4)
TEACHER = (0.9 + 0.1 * RNG.random(20)).tolist()
STUDENT = (0.95 + 0.1 * RNG.random(20)).tolist()
LENGTHS = [50] * 20  # eleven words each


def entries(teacher, student):
    found = run(evaluated("big", {"wiki": teacher}), evaluated("small", {"wiki": student}))
    return {entry.metric: entry for entry in found.entries}


def nats(bits, words):
    return np.array(bits) * 50 * np.log(2) / words


def test_every_perplexity_has_an_entry_in_its_own_unit_with_lm_evals_own_scores():
    found = entries(text(TEACHER, LENGTHS), text(STUDENT, LENGTHS))
    assert {name: (entry.unit, entry.primary) for name, entry in found.items()} == {
        "bits_per_byte": ("bits/byte", True),
        "word_perplexity": ("perplexity", False),
        "byte_perplexity": ("perplexity", False),
    }
    for entry in found.values():
        assert entry.teacher.value == pytest.approx(entry.lm_eval_teacher, rel=1e-9)
        assert entry.student.value == pytest.approx(entry.lm_eval_student, rel=1e-9)
        assert entry.lm_eval_reason is None
    assert found["byte_perplexity"].teacher.value == pytest.approx(2 ** found["bits_per_byte"].teacher.value)
    assert [entry.verdict is None for entry in found.values()] == [False, True, True]


def test_intervals_of_a_perplexity_are_those_of_its_nats():
    found = entries(text(TEACHER, LENGTHS), text(STUDENT, LENGTHS))["word_perplexity"]
    of_teacher, of_student = nats(TEACHER, 11), nats(STUDENT, 11)
    own = ttest_1samp(of_teacher, 0.0).confidence_interval(0.95)
    assert (found.teacher.ci_low, found.teacher.ci_high) == pytest.approx((np.exp(own.low), np.exp(own.high)))
    lost = ttest_rel(of_student, of_teacher)
    ends = lost.confidence_interval(0.95)
    assert found.retention.value == pytest.approx(found.teacher.value / found.student.value)
    assert (found.retention.ci_low, found.retention.ci_high) == pytest.approx((np.exp(-ends.high), np.exp(-ends.low)))
    assert (found.test, found.p_value) == ("paired t of log-likelihoods", pytest.approx(lost.pvalue))


def test_the_interval_of_a_difference_of_perplexities_is_that_of_the_delta_method():
    found = entries(text(TEACHER, LENGTHS), text(STUDENT, LENGTHS))["word_perplexity"]
    slopes = found.student.value * nats(STUDENT, 11) - found.teacher.value * nats(TEACHER, 11)
    expected = slopes.std(ddof=1) / np.sqrt(20)
    assert found.difference.value == pytest.approx(found.student.value - found.teacher.value)
    assert found.difference.stderr == pytest.approx(expected)
    assert found.difference.ci_low == pytest.approx(found.difference.value - 2.093024 * expected)


def test_documents_are_weighted_as_lm_eval_weights_them():
    lengths = [10, 40, 25, 90]
    teacher = text([1.0, 0.8, 1.2, 0.9], lengths, metrics=["perplexity", "word_perplexity"])
    student = text([1.1, 0.9, 1.1, 1.0], lengths, metrics=["perplexity", "word_perplexity"])
    for entry in entries(teacher, student).values():
        if entry.unit == "perplexity":
            assert entry.student.value == pytest.approx(entry.lm_eval_student, rel=1e-9)


def test_bits_per_byte_carry_the_verdict_of_a_task_that_lm_eval_prints_no_bits_per_byte_for():
    found = entries(text(TEACHER, LENGTHS, metrics=["perplexity"]), text(STUDENT, LENGTHS, metrics=["perplexity"]))
    assert list(found) == ["bits_per_byte", "perplexity"]
    assert [entry.primary for entry in found.values()] == [True, False]
    bits = found["bits_per_byte"]
    assert (bits.unit, bits.teacher.value) == ("bits/byte", pytest.approx(np.mean(TEACHER)))
    assert (bits.lm_eval_teacher, bits.lm_eval_student) == (None, None)
    assert bits.lm_eval_reason == "lm-eval does not print bits per byte for this task"


def test_a_perplexity_beside_an_accuracy_is_shown_under_its_own_name_only():
    """As in lambada_openai."""

    def lambada(bits):
        right = Column([1.0] * 10 + [0.0] * 10)
        return Task([*text(bits, LENGTHS, metrics=["perplexity"], primary=False).columns, right])

    found = entries(lambada(TEACHER), lambada(STUDENT))
    assert {name: (entry.unit, entry.primary) for name, entry in found.items()} == {
        "perplexity": ("perplexity", False),
        "acc": ("share", True),
    }


def test_the_same_model_keeps_exactly_all_of_its_perplexity():
    found = entries(text(TEACHER, LENGTHS), text(TEACHER, LENGTHS))["word_perplexity"]
    assert (found.retention.value, found.difference.value, found.p_value) == (1.0, 0.0, 1.0)


def test_a_perplexity_too_large_for_a_number_is_none_with_lm_evals_reason():
    reason = "lm-eval's aggregation fails on these documents: OverflowError: math range error"
    teacher = text([1.0, 1.2], [300, 200], metrics=["perplexity"])
    student = text([1.0, 1.2], [300, 200], metrics=["perplexity"])
    student.columns[0].score, student.columns[0].reason = None, reason
    student.columns[0].values = [-4000.0, -5000.0]
    found = entries(teacher, student)["perplexity"]
    assert (found.student.value, found.student.reason, found.lm_eval_reason) == (None, reason, reason)
    assert found.teacher.value == pytest.approx(np.exp(270 * np.log(2)))
    assert (found.retention.value, found.retention.reason) == (None, reason)


def test_a_document_without_words_leaves_its_word_perplexity_without_an_interval():
    teacher = text([1.0, 1.2], [30, 20])
    teacher.columns[0].num_words = [0, 5]
    found = entries(teacher, teacher)["word_perplexity"]
    assert (found.retention.value, found.retention.reason) == (None, "the sizes of its documents are not known")
    assert found.teacher.value == found.lm_eval_teacher
