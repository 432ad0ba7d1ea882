"""The recovered gap against independent recomputations: the definition of each interval, and the plain bootstrap."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import t as student_t
from unit.compare.build import Column, Task, binary, evaluated, group, run, text

BITS = st.integers(0, 1)
TRIPLES = st.lists(st.tuples(BITS, BITS, BITS), min_size=1, max_size=60)


def only(student, teacher, baseline, groups=(), **options):
    """The one entry that carries a verdict; each model is a task or a dict of tasks."""
    models = [one if isinstance(one, dict) else {"task": one} for one in (student, teacher, baseline)]
    small, big, bare = (
        evaluated(ref, one, groups=groups) for ref, one in zip(("small", "big", "bare"), models, strict=True)
    )
    (entry,) = [entry for entry in run(big, small, baselines=[bare], **options).entries if entry.primary]
    return entry


def recovered(*models, **options):
    return only(*models, **options).bought.gap_recovered


def real(values, **options):
    return Task([Column([float(value) for value in values], metric="f1", kind="real", **options)])


def answers(num_docs, *chances, shared=0.7, seed=0):
    """0/1 scores of models that share the luck of a document with probability `shared`."""
    rng = np.random.default_rng(seed)
    common, together = rng.random(num_docs), rng.random(num_docs) < shared
    return [(np.where(together, common, rng.random(num_docs)) < chance).astype(float) for chance in chances]


def bootstrapped(num_docs, ratio, seed=0, num_resamples=4000):
    """Percentile interval of a ratio over resampled documents, whose numbers `ratio` gets."""
    rng = np.random.default_rng(seed)
    return np.quantile([ratio(rng.integers(0, num_docs, num_docs)) for _ in range(num_resamples)], [0.025, 0.975])


def ratio_of_means(student, teacher, baseline):
    return lambda chosen: (student - baseline)[chosen].mean() / (teacher - baseline)[chosen].mean()


def score_statistic(bought, missing, ratio):
    """The squared score statistic of `mean(bought) = ratio * mean(missing)` by its definition.

    The likeliest distribution over the seven possible pairs of differences under the hypothesis gives the variance.
    """
    pairs = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a * b >= 0]
    share = np.array([((bought == a) & (missing == b)).mean() for a, b in pairs])
    value = np.array([a - ratio * b for a, b in pairs])
    mean = share @ value
    if mean == 0:
        return 0.0
    ends = [-1 / value.max(), -1 / value.min()]

    def off(slope):
        return (share * value / (1 + slope * value)).sum()

    low, high = (end * (1 - 1e-12) for end in ends)
    if off(low) * off(high) > 0:  # the rest of the weight lies on a pair that no document showed
        slope = high if mean > 0 else low
        weight = share / (1 + slope * value)
        corner = value.min() if mean > 0 else value.max()
        variance = (weight * value**2).sum() + (1 - weight.sum()) * corner**2
    else:
        slope = brentq(off, low, high, xtol=1e-15)
        variance = (share * value**2 / (1 + slope * value)).sum()
    return len(bought) * mean**2 / variance


def test_binary():
    student, teacher, baseline = answers(400, 0.58, 0.65, 0.5)
    found = only(binary(student), binary(teacher), binary(baseline)).bought
    assert found.baseline_ref == "bare"
    assert found.baseline.value == baseline.mean()
    assert found.difference.value == pytest.approx(student.mean() - baseline.mean())
    assert found.gap.value == pytest.approx(teacher.mean() - baseline.mean())
    assert found.gap_recovered.value == pytest.approx(found.difference.value / found.gap.value)
    critical = student_t.ppf(0.975, 399) ** 2
    for end in (found.gap_recovered.ci_low, found.gap_recovered.ci_high):
        assert score_statistic(student - baseline, teacher - baseline, end) == pytest.approx(critical, rel=1e-6)


def test_both_differences_are_those_of_comparing_with_the_baseline():
    student, teacher, baseline = (binary(one, options=4) for one in answers(300, 0.6, 0.7, 0.5))
    found = only(student, teacher, baseline).bought
    for model, difference in ((student, found.difference), (teacher, found.gap)):
        plain = run(evaluated("bare", {"task": baseline}), evaluated("model", {"task": model})).entries[0]
        assert difference == plain.difference
    plain = run(evaluated("bare", {"task": baseline}), evaluated("model", {"task": student})).entries[0]
    assert (found.test, found.p_value) == ("exact McNemar", plain.p_value)


def test_binary_is_near_the_bootstrap_and_the_delta_method():
    models = answers(3000, 0.56, 0.65, 0.5)
    found = recovered(*(binary(one) for one in models))
    expected = bootstrapped(3000, ratio_of_means(*models))
    assert (found.ci_low, found.ci_high) == pytest.approx(expected, abs=0.015)
    student, teacher, baseline = models
    left = (student - baseline) - found.value * (teacher - baseline)
    assert found.stderr == pytest.approx(left.std(ddof=1) / np.sqrt(3000) / (teacher - baseline).mean(), rel=1e-9)


def fieller(bought, missing):
    """The roots of `mean(bought - r * missing) = t * stderr`, for units of equal weight."""
    num_units = len(bought)
    covariance = np.cov(bought, missing) / num_units
    square = student_t.ppf(0.975, num_units - 1) ** 2
    a = missing.mean() ** 2 - square * covariance[1, 1]
    b = bought.mean() * missing.mean() - square * covariance[0, 1]
    c = bought.mean() ** 2 - square * covariance[0, 0]
    root = np.sqrt(b * b - a * c)
    return (b - root) / a, (b + root) / a


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_real_scores_that_all_differ_have_fiellers_interval(higher_is_better):
    rng = np.random.default_rng(3)
    baseline = rng.random(80)
    teacher, student = baseline + 0.3 * rng.random(80), baseline + 0.25 * rng.random(80) - 0.05
    if not higher_is_better:
        baseline, teacher, student = 2.0 - baseline, 2.0 - teacher, 2.0 - student
    found = only(*(real(one, higher_is_better=higher_is_better) for one in (student, teacher, baseline))).bought
    expected = fieller(student - baseline, teacher - baseline)
    assert (found.gap_recovered.ci_low, found.gap_recovered.ci_high) == pytest.approx(expected)
    assert (found.gap.value > 0) == higher_is_better
    near = bootstrapped(80, ratio_of_means(student, teacher, baseline))
    assert (found.gap_recovered.ci_low, found.gap_recovered.ci_high) == pytest.approx(near, abs=0.03)


@pytest.mark.parametrize("seldom", ["student", "teacher", "both"])
def test_real_scores_of_which_few_differ_are_judged_with_caution(seldom):
    """0/1 scores that are stored as real ones have the score interval of 0/1 scores, whichever pair differs seldom."""
    student, teacher, baseline = answers(200, 0.56, 0.66, 0.5, shared=0.9)
    (often,) = answers(200, 0.66, shared=0.0, seed=9)
    student, teacher = (often if seldom == "teacher" else student), (often if seldom == "student" else teacher)
    changed = [np.sum(one != baseline) >= 50 for one in (student, teacher)]
    assert changed == [seldom == "teacher", seldom == "student"]
    found = recovered(*(real(one) for one in (student, teacher, baseline)))
    exact = recovered(*(binary(one) for one in (student, teacher, baseline)))
    assert (found.ci_low, found.ci_high) == pytest.approx((exact.ci_low, exact.ci_high), rel=1e-9)


def test_bits_per_byte():
    rng = np.random.default_rng(1)
    num_bytes = rng.integers(80, 160, 120)
    baseline = 1.0 + 0.1 * rng.random(120)
    teacher, student = baseline - 0.1 * rng.random(120), baseline - 0.06 * rng.random(120)
    found = only(*(text(one.tolist(), num_bytes.tolist()) for one in (student, teacher, baseline))).bought
    means = [np.average(one, weights=num_bytes) for one in (student, teacher, baseline)]
    assert found.difference.value == pytest.approx(means[0] - means[2])
    assert (found.difference.value, found.gap.value) < (0, 0)
    assert found.gap_recovered.value == pytest.approx((means[2] - means[0]) / (means[2] - means[1]))

    def ratio(chosen):
        s, t, b = (np.average(one[chosen], weights=num_bytes[chosen]) for one in (student, teacher, baseline))
        return (b - s) / (b - t)

    expected = bootstrapped(120, ratio)
    assert (found.gap_recovered.ci_low, found.gap_recovered.ci_high) == pytest.approx(expected, abs=0.02)


def test_a_group_has_its_tasks_as_clusters():
    rng = np.random.default_rng(5)
    models = [{}, {}, {}]
    for index in range(12):
        without = 0.4 + 0.2 * rng.random()
        drawn = answers(200, without + 0.1 * rng.random(), without + 0.15, without, seed=index)
        for model, scores in zip(models, drawn, strict=True):
            model[f"task{index}"] = binary(scores)
    found = only(*models, groups=[group("all", list(models[0]))])
    student, teacher, baseline = (
        np.array([np.mean(task.columns[0].values) for task in model.values()]) for model in models
    )
    expected = fieller(student - baseline, teacher - baseline)
    assert (found.task, found.num_tasks, found.bought.test) == ("all", 12, "clustered t")
    assert found.bought.gap_recovered.value == pytest.approx((student - baseline).sum() / (teacher - baseline).sum())
    assert (found.bought.gap_recovered.ci_low, found.bought.gap_recovered.ci_high) == pytest.approx(expected)


def test_tasks_that_all_agree_are_no_interval_without_width():
    """Each of 40 tasks: the baseline is right 5 times of 10, the student once more, the teacher twice more."""
    models = [{f"task{i}": binary([1] * right + [0] * (10 - right)) for i in range(40)} for right in (6, 7, 5)]
    found = recovered(*models, groups=[group("all", list(models[0]))])
    more = student_t.ppf(0.975, 399) ** 2
    assert found.value == pytest.approx(0.5)
    assert found.ci_low == pytest.approx((40 - more) / 80)
    assert found.ci_high == pytest.approx((40 + more) / 80)


def mcc(gold, answer):
    """Matthews' correlation of two classes is Pearson's of the 0/1 labels."""
    return np.corrcoef(gold, answer)[0, 1]


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_corpus(higher_is_better):
    rng = np.random.default_rng(2)
    gold = rng.integers(0, 2, 300)
    right = [one == 1 for one in answers(300, 0.8, 0.9, 0.7)]
    given_ = [np.where(one, gold, 1 - gold) for one in right]
    if not higher_is_better:
        given_ = [1 - one for one in given_]
    tasks = [
        Task(
            [
                Column(
                    metric="mcc",
                    kind="corpus",
                    aggregation="mcc",
                    higher_is_better=higher_is_better,
                    items=[json.dumps([g, a]) for g, a in zip(gold.tolist(), one.tolist(), strict=True)],
                    score=float(mcc(gold, one)),
                )
            ]
        )
        for one in given_
    ]
    found = only(*tasks).bought
    student, teacher, baseline = (mcc(gold, one) for one in given_)
    assert found.test == "paired bootstrap"
    assert found.gap_recovered.value == pytest.approx((student - baseline) / (teacher - baseline))

    def ratio(chosen):
        s, t, b = (mcc(gold[chosen], one[chosen]) for one in given_)
        return (s - b) / (t - b)

    expected = bootstrapped(300, ratio, num_resamples=2000)
    assert (found.gap_recovered.ci_low, found.gap_recovered.ci_high) == pytest.approx(expected, abs=0.03)


@settings(max_examples=40)
@given(TRIPLES)
def test_the_interval_and_both_differences_never_contradict_each_other(triples):
    student, teacher, baseline = zip(*triples, strict=True)
    found = only(binary(student), binary(teacher), binary(baseline)).bought
    share = found.gap_recovered
    assert (share.value is None) == (share.reason is not None)
    assert (share.value is None) == (found.gap.ci_low is None or found.gap.ci_low <= 0)
    if share.value is not None:
        assert share.ci_low - 1e-12 <= share.value <= share.ci_high + 1e-12
        if abs(share.ci_low) > 1e-9:
            assert (share.ci_low > 0) == (found.difference.ci_low > 0)
        if abs(share.ci_high) > 1e-9:
            assert (share.ci_high < 0) == (found.difference.ci_high < 0)


@settings(max_examples=15)
@given(st.lists(st.tuples(BITS, BITS), min_size=8, max_size=60))
def test_a_student_like_its_teacher_recovered_all_and_one_like_its_baseline_nothing(pairs):
    teacher, baseline = (
        [*column, *extra] for column, extra in zip(zip(*pairs, strict=True), ([1] * 60, [0] * 60), strict=True)
    )
    for student, share in ((teacher, 1.0), (baseline, 0.0)):
        found = recovered(binary(student), binary(teacher), binary(baseline))
        assert found.value == pytest.approx(share)
        assert found.ci_low < share < found.ci_high
