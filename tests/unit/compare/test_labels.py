"""A classifier's retention, from how many texts one of teacher and student alone labels right."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest, t

from distill_eval.compare.labels import entry_of_labels
from distill_eval.errors import ArtifactError
from distill_eval.schema.distill import ClassifierFigures, Paired
from distill_eval.schema.retention import DEFAULT, Flips

NUM = 2000


def figures(num_right, paired=None, num=NUM):
    return ClassifierFigures(
        model="m", num_parameters=1, size_bytes=1, accuracy=num_right / num, accuracy_ci_low=0.0, accuracy_ci_high=1.0,
        macro_f1=0.5, num_texts=num, latency_p50_ms=None, latency_p95_ms=None, num_requests=0, resident_bytes=None,
        resident_before_bytes=None, num_threads=None, unmeasured="not asked", paired=paired,
    )  # fmt: skip


def entry(both, student_alone, teacher_alone, num=NUM, criterion=DEFAULT):
    paired = Paired(num_pairs=num, num_only_teacher=teacher_alone, num_only_student=student_alone, p_value=1.0)
    teacher = figures(both + teacher_alone, paired, num)
    return entry_of_labels("s", "texts (test)", figures(both + student_alone, num=num), teacher, criterion)


def score_statistic(ratio, cells):
    """(mean of s - r t)^2 over its variance under the likeliest cells in which that mean is 0 (Tang et al. 2003)."""
    both, _, teacher, _ = cells
    num = sum(cells)

    def shares(free):
        p_both, p_teacher = free
        p_student = ratio * (p_both + p_teacher) - p_both
        return np.array([p_both, p_student, p_teacher, 1 - p_both - p_student - p_teacher])

    def loss(free):
        p = shares(free)
        return 1e9 if p.min() <= 0 else -float(np.dot(cells, np.log(p)))

    begin = np.array([both, teacher]) / num
    found = shares(minimize(loss, begin, method="Nelder-Mead", options={"xatol": 1e-12, "fatol": 1e-10}).x)
    scores = np.array([1 - ratio, 1.0, -ratio, 0.0])
    mean = float(np.dot(cells, scores)) / num
    return num * mean**2 / float(np.dot(found, scores**2))


def test_the_interval_is_that_of_the_score_test_of_paired_proportions():
    cells = (1805, 37, 27, 131)
    kept = entry(*cells[:3]).retention
    assert kept.value == pytest.approx(1842 / 1832)
    limit = t.ppf(0.975, NUM - 1) ** 2
    assert score_statistic(kept.ci_low, cells) == pytest.approx(limit, rel=1e-4)
    assert score_statistic(kept.ci_high, cells) == pytest.approx(limit, rel=1e-4)
    assert kept.ci_low < kept.value < kept.ci_high


def test_the_counts_stand_in_their_places():
    found = entry(1805, 37, 27)
    assert (found.task, found.metric, found.num_pairs, found.unit) == ("texts (test)", "accuracy", NUM, "share")
    assert (found.teacher.value, found.student.value) == pytest.approx((0.916, 0.921))
    assert found.flips == Flips(num_harmful=27, num_beneficial=37, num_wrong_to_other_wrong=None)
    assert found.p_value == found.p_adjusted == pytest.approx(binomtest(27, 64).pvalue)
    assert found.retention_above_chance.value is None


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [((1805, 37, 27), "PASS"), ((1400, 10, 400), "FAIL"), ((1720, 20, 112), "INCONCLUSIVE"), ((1832, 0, 0), "PASS")],
)
def test_the_verdict_is_by_the_whole_interval(cells, verdict):
    found = entry(*cells)
    assert found.verdict == verdict
    kept = found.retention
    within = (kept.ci_low > 0.95, kept.ci_high < 0.95)
    assert within == {"PASS": (True, False), "FAIL": (False, True), "INCONCLUSIVE": (False, False)}[verdict]


def test_few_texts_settle_nothing():
    found = entry(9, 0, 0, num=10)
    assert (found.retention.value, found.verdict) == (1.0, "INCONCLUSIVE")
    assert entry(9, 0, 0, num=10, criterion=replace(DEFAULT, min_retention=0.1)).verdict == "PASS"


def test_counts_that_are_not_of_these_accuracies_are_refused():
    paired = Paired(num_pairs=NUM, num_only_teacher=27, num_only_student=37, p_value=1.0)
    for student, teacher in ((1842, 1900), (1842, 20)):
        with pytest.raises(ArtifactError, match="does not go together: the artifact was edited"):
            entry_of_labels("s", "texts", figures(student), figures(teacher, paired), DEFAULT)
    with pytest.raises(ArtifactError, match="m has no counts beside s on texts: train again"):
        entry_of_labels("s", "texts", figures(1842), figures(1832), DEFAULT)
