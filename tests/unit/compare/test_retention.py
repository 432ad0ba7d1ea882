"""Evaluations in, Retention out."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_rel
from unit.compare.build import Column, Task, binary, cells, criterion, evaluated, group, run, text

from distill_eval.compare import planned_power
from distill_eval.errors import ArtifactError, UsageError
from distill_eval.record import from_json, to_json
from distill_eval.schema.retention import Criterion, Retention

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)
REALS = st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)), min_size=2, max_size=15)


def only(teacher, student, **options):
    """The one entry that carries a verdict of comparing one task."""
    found = run(evaluated("big", {"task": teacher}), evaluated("small", {"task": student}), **options)
    (entry,) = [entry for entry in found.entries if entry.primary]
    return entry


def real(values, **options):
    return Task([Column([float(value) for value in values], metric="f1", kind="real", **options)])


def corpus(items, aggregation="matthews_corrcoef", score=0.5):
    column = Column(
        metric="mcc", kind="corpus", aggregation=aggregation, items=[json.dumps(i) for i in items], score=score
    )
    return Task([column])


def everything(seed=0, noise=0.0):
    """One task of each kind and a group, of a model that errs more with more noise."""
    rng = np.random.default_rng(seed)
    flip = np.random.default_rng(seed + 1)
    right = {name: rng.random(60) < 0.7 for name in ("arc", "mmlu_a", "mmlu_b")}
    tasks = {name: binary(values ^ (flip.random(60) < noise), options=4) for name, values in right.items()}
    tasks["squad"] = real(rng.random(50) - noise * flip.random(50) * 0.1)
    tasks["wiki"] = text(
        (0.9 + 0.1 * rng.random(30) + noise * flip.random(30)).tolist(), rng.integers(50, 900, 30).tolist()
    )
    gold = rng.integers(0, 2, 80)
    answers = np.where(rng.random(80) < 0.9, gold, 1 - gold) ^ (flip.random(80) < noise)
    tasks["cola"] = corpus(list(zip(gold.tolist(), answers.tolist(), strict=True)))
    return tasks, [group("mmlu", ["mmlu_a", "mmlu_b"])]


def whole(noise=0.1, **options):
    tasks, groups = everything()
    others, _ = everything(noise=noise)
    return run(evaluated("big", tasks, groups=groups), evaluated("small", others, groups=groups), **options)


# One entry per kind, against what can be computed by hand.


def test_binary():
    teacher, student = cells(both=50, student_only=4, teacher_only=16, neither=30)
    found = only(binary(teacher, options=4), binary(student, options=4))
    assert (found.kind, found.unit, found.num_pairs, found.num_tasks, found.chance) == ("binary", "share", 100, 1, 0.25)
    assert (found.teacher.value, found.student.value, found.difference.value) == (0.66, 0.54, -0.12)
    assert found.retention.value == pytest.approx(54 / 66)
    assert found.retention_above_chance.value == pytest.approx(29 / 41)
    assert found.contrast.value == pytest.approx(0.54 - 0.95 * 0.66)
    assert found.difference.stderr == pytest.approx(math.sqrt((0.2 - 0.12**2) / 99))
    assert (found.test, found.p_value) == ("exact McNemar", pytest.approx(binomtest(4, 20).pvalue))
    assert (found.flips.num_harmful, found.flips.num_beneficial) == (16, 4)
    assert found.verdict == "FAIL"
    assert found.lm_eval_teacher == 0.66


def test_wrong_answers_are_told_apart_where_they_are_known():
    right = [1, 0, 0, 0]
    known = only(binary(right, answers=list("ABCD")), binary(right, answers=list("ABBD")))
    assert known.flips.num_wrong_to_other_wrong == 1
    unknown = only(binary(right, answers=["A", "B", None, "D"]), binary(right, answers=list("ABBD")))
    assert unknown.flips.num_wrong_to_other_wrong is None


def test_chance_is_the_mean_over_documents():
    teacher = evaluated("big", {"task": binary([1, 1, 1, 0] * 20, options=4)})
    samples = [replace(sample, num_options=2 if sample.doc_id % 2 else 4) for sample in teacher.samples["task"]]
    teacher = teacher._replace(samples={"task": samples})
    assert run(teacher, teacher).entries[0].chance == pytest.approx(0.375)
    samples[3] = replace(samples[3], num_options=None)
    found = run(teacher, teacher).entries[0]
    assert (found.chance, found.retention_above_chance.reason) == (None, "guessing has no score here")


def test_real_scores_that_all_differ_are_the_paired_t_test():
    rng = np.random.default_rng(0)
    teacher = rng.random(30)
    student = teacher - 0.1 * rng.random(30)
    found = only(real(teacher), real(student))
    expected = ttest_rel(student, teacher)
    assert (found.test, found.p_value) == ("paired t", pytest.approx(expected.pvalue))
    interval = expected.confidence_interval(0.95)
    assert (found.difference.ci_low, found.difference.ci_high) == pytest.approx((interval.low, interval.high))
    assert (found.unit, found.flips, found.chance) == ("score", None, None)


def test_lower_is_better():
    teacher, student = [0.2, 0.3, 0.25, 0.35, 0.3], [0.3, 0.32, 0.4, 0.36, 0.5]
    found = only(real(teacher, higher_is_better=False), real(student, higher_is_better=False))
    assert found.difference.value == pytest.approx(np.mean(student) - np.mean(teacher))
    assert found.retention.value == pytest.approx(np.mean(teacher) / np.mean(student))
    assert found.contrast.value == pytest.approx(np.mean(teacher) - 0.95 * np.mean(student))
    margin = only(real(teacher, higher_is_better=False), real(student, higher_is_better=False), margin=0.5)
    assert margin.contrast.value == pytest.approx(0.5 - found.difference.value)
    assert margin.verdict == "PASS"


def test_lower_is_better_of_shares():
    """As in crows_pairs: 1 is a stereotype preferred, so 0 is right, and the student is the better model."""
    teacher, student = cells(both=50, student_only=4, teacher_only=16, neither=30)
    stereotype = {"metric": "pct_stereotype", "higher_is_better": False, "options": 2}
    found = only(binary(teacher, **stereotype), binary(student, **stereotype))
    assert (found.flips.num_harmful, found.flips.num_beneficial) == (4, 16)
    assert found.difference.value == -0.12
    assert found.retention.value == pytest.approx(66 / 54)
    assert found.contrast.value == pytest.approx(0.66 - 0.95 * 0.54)
    assert found.verdict == "PASS"
    assert (found.chance, found.retention_above_chance.value) == (None, None)
    assert found.retention_above_chance.reason == "guessing has no score where lower is better"


def test_wrong_answers_where_lower_is_better_are_those_that_score_1():
    options = {"higher_is_better": False}
    found = only(
        binary([1, 1, 0, 0], answers=list("ABCD"), **options), binary([1, 1, 0, 0], answers=list("ACCE"), **options)
    )
    assert found.flips.num_wrong_to_other_wrong == 1


def test_bits_per_byte():
    num_bytes = [100, 400, 50, 800]
    found = only(text([1.0, 0.8, 1.2, 0.9], num_bytes), text([1.1, 0.9, 1.1, 1.0], num_bytes))
    teacher = np.average([1.0, 0.8, 1.2, 0.9], weights=num_bytes)
    student = np.average([1.1, 0.9, 1.1, 1.0], weights=num_bytes)
    assert (found.metric, found.unit, found.higher_is_better) == ("bits_per_byte", "bits/byte", False)
    assert (found.teacher.value, found.student.value) == (pytest.approx(teacher), pytest.approx(student))
    assert found.retention.value == pytest.approx(teacher / student)
    assert (found.lm_eval_teacher, found.lm_eval_student) == pytest.approx((teacher, student))
    assert found.test == "paired t, documents weighted by bytes"
    assert found.power.reason == "the spread of a loglikelihood metric is not known before the run"


def test_corpus():
    gold = [0, 1] * 40
    found = only(corpus([[g, g] for g in gold]), corpus([[g, g if i % 5 else 1 - g] for i, g in enumerate(gold)]))
    assert (found.test, found.teacher.value, found.student.value) == ("paired bootstrap", 1.0, pytest.approx(0.6))
    assert found.difference.ci_low < -0.4 < found.difference.ci_high
    assert found.p_value < 0.01


def test_a_corpus_metric_that_is_not_understood_keeps_its_score_and_says_why():
    found = run(
        evaluated("big", {"wmt": corpus([["a", "b"]] * 9, "bleu", 30.0)}),
        evaluated("small", {"wmt": corpus([["a", "b"]] * 9, "bleu", 27.0)}),
    )
    entry = found.entries[0]
    reason = "the aggregation bleu is not one whose uncertainty is known (f1, matthews_corrcoef, mcc)"
    assert (entry.teacher.value, entry.student.value, entry.difference.value) == (30.0, 27.0, -3.0)
    assert {e.reason for e in (entry.difference, entry.retention, entry.contrast, entry.retention_above_chance)} == {
        reason
    }
    assert (entry.p_value, entry.p_adjusted, entry.test, entry.verdict) == (None, None, None, "INCONCLUSIVE")
    assert [f.text for f in found.findings] == [f"small is INCONCLUSIVE: {reason}."]


def test_a_corpus_metric_without_items_says_so():
    tasks = {"cola": Task([Column([0.0, 0.0], metric="mcc", kind="corpus", aggregation="mcc", score=0.1)])}
    found = run(evaluated("big", tasks), evaluated("small", tasks)).entries[0]
    assert found.contrast.reason == "its documents were stored without what the score is made of"


# Where a number does not exist.


def test_a_teacher_at_chance_has_no_retention_above_chance():
    teacher, student = cells(both=10, student_only=8, teacher_only=8, neither=48)
    found = run(
        evaluated("big", {"task": binary(teacher, options=4)}), evaluated("small", {"task": binary(student, options=4)})
    )
    entry = found.entries[0]
    assert (entry.retention_above_chance.value, entry.retention.value) == (None, 1.0)
    assert entry.retention_above_chance.reason == "the teacher cannot be told from guessing (0.25)"
    assert found.findings[1].text == (
        "The teacher's acc of 24.3% cannot be told from guessing (25.0%): what a student keeps of it means nothing."
    )


def test_a_teacher_at_zero_has_no_retention():
    found = run(evaluated("big", {"task": binary([0] * 50)}), evaluated("small", {"task": binary([0] * 50)}))
    entry = found.entries[0]
    assert (entry.retention.value, entry.retention.reason) == (
        None,
        "the teacher's score is not above 0, so a ratio to it is undefined",
    )
    assert (entry.teacher.value, entry.teacher.ci_low) == (0.0, 0.0)
    assert entry.teacher.ci_high == pytest.approx(0.0747, abs=1e-4)
    assert entry.verdict == "INCONCLUSIVE"
    assert "No retention: the teacher's score is not above 0, so a ratio to it is undefined." in {
        finding.text for finding in found.findings
    }


def test_one_document_shows_nothing():
    entry = only(binary([1]), binary([1]), margin=0.5)
    assert (entry.difference.value, entry.difference.stderr, entry.difference.ci_low) == (0.0, None, None)
    assert entry.difference.reason == "1 document(s) show no variance to make an interval from"
    assert (entry.verdict, entry.power.detectable_drop, entry.power.num_docs_to_settle) == ("INCONCLUSIVE", None, None)


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("options", [{"min_retention": 0.95}, {"margin": 0.02}])
def test_five_documents_alike_are_no_evidence(right, options):
    assert only(binary([right] * 5), binary([right] * 5), **options).verdict == "INCONCLUSIVE"
    assert only(real([right] * 5), real([right] * 5), **options).verdict == "INCONCLUSIVE"


def test_enough_documents_alike_are_evidence():
    """With all right on both sides, 0.05 of failures are excluded from 74 documents on."""
    assert only(binary([1] * 73), binary([1] * 73), margin=0.05).verdict == "INCONCLUSIVE"
    assert only(binary([1] * 80), binary([1] * 80), margin=0.05).verdict == "PASS"


def test_nearly_alike_real_scores_are_no_evidence_either():
    student = [1.0] * 39 + [0.99]
    assert only(real([1.0] * 40), real(student), margin=0.05).verdict == "INCONCLUSIVE"


def test_real_scores_that_all_change_alike_show_no_variance():
    found = only(real([0.5, 0.5, 0.5, 0.5]), real([0.4, 0.4, 0.4, 0.4]))
    assert (found.difference.value, found.difference.ci_low) == (pytest.approx(-0.1), None)
    assert (found.test, found.p_value) == ("exact sign test", 0.125)
    assert found.verdict == "INCONCLUSIVE"


def test_broken_samples_are_refused():
    with pytest.raises(ArtifactError, match="a document has the value inf for f1 of task, expected a number"):
        only(real([1.0, math.inf]), real([1.0, 1.0]))
    with pytest.raises(ArtifactError, match="acc of task is stored as a 0/1 metric but has other values"):
        only(binary([1, 0.5]), binary([1, 1]))
    with pytest.raises(ArtifactError, match="a document has 100 bytes for the teacher and 90 for the student"):
        only(text([1.0, 1.0], [100, 100]), text([1.0, 1.0], [90, 100]))
    with pytest.raises(ArtifactError, match="acc is binary in one evaluation and corpus in the other"):
        only(binary([1, 0]), Task([Column([1.0, 0.0], kind="corpus", score=0.5)]))


def test_a_metric_without_a_number_on_some_documents_has_no_evidence_and_says_so():
    def task(second):
        return Task(
            [Column([1.0, 0.0, 1.0]), Column([0.5, second, 0.2], metric="rouge", kind="real", primary=False, score=0.3)]
        )

    found = run(evaluated("big", {"task": task(None)}), evaluated("small", {"task": task(0.4)}))
    acc, rouge = found.entries
    reason = "1 of 3 documents have no number under this metric"
    assert (rouge.teacher.value, rouge.student.value, rouge.difference.value) == (0.3, 0.3, 0.0)
    assert {part.reason for part in (rouge.teacher, rouge.difference, rouge.retention, rouge.contrast)} == {reason}
    assert (rouge.p_value, rouge.verdict) == (None, None)
    assert (acc.teacher.value, acc.retention.value) == (pytest.approx(2 / 3), 1.0)
    assert from_json(Retention, to_json(found), source="test") == found
    lost = only(Task([Column([1.0, None], score=0.5)]), Task([Column([1.0, 1.0])]))
    assert (lost.verdict, lost.flips) == ("INCONCLUSIVE", None)
    assert lost.contrast.reason == "1 of 2 documents have no number under this metric"


def test_a_score_that_lm_eval_does_not_give_is_none_with_its_reason():
    reason = "lm-eval's aggregation gives nan on these documents"
    bias = {"metric": "bias", "kind": "corpus", "aggregation": "agg_bias", "items": ["[1]", "[0]"]}
    found = only(Task([Column(reason=reason, **bias)]), Task([Column(score=0.1, **bias)]))
    assert (found.teacher.value, found.teacher.reason) == (None, reason)
    assert (found.lm_eval_teacher, found.lm_eval_student, found.lm_eval_reason) == (None, 0.1, reason)
    assert (found.difference.value, found.verdict) == (None, "INCONCLUSIVE")


def test_zero_one_beside_real_scores_are_real():
    assert only(binary([1, 0, 1]), Task([Column([1.0, 0.5, 1.0], kind="real")])).kind == "real"


# Properties.


def test_a_teacher_is_its_own_equal():
    tasks, groups = everything()
    model = evaluated("big", tasks, groups=groups)
    found = run(model, model)
    assert len(found.entries) == 9
    for entry in found.entries:
        assert (entry.retention.value, entry.difference.value, entry.p_value) == (1.0, 0.0, 1.0)
        assert entry.flips is None or (entry.flips.num_harmful, entry.flips.num_beneficial) == (0, 0)
    assert {e.p_adjusted for e in found.entries if e.primary} == {1.0}
    assert found.verdicts[0].mean_retention == 1.0


@settings(max_examples=40)
@given(PAIRS)
def test_exchanging_the_models_negates_the_difference_of_binary_scores(pairs):
    teacher, student = zip(*pairs, strict=True)
    forth, back = only(binary(teacher), binary(student)), only(binary(student), binary(teacher))
    assert_exchanged(forth, back)
    assert (forth.flips.num_harmful, forth.flips.num_beneficial) == (back.flips.num_beneficial, back.flips.num_harmful)


@settings(max_examples=40)
@given(REALS)
def test_exchanging_the_models_negates_the_difference_of_real_scores(pairs):
    teacher, student = zip(*pairs, strict=True)
    assert_exchanged(only(real(teacher), real(student)), only(real(student), real(teacher)))


@settings(max_examples=40)
@given(REALS, st.randoms(use_true_random=False))
def test_exchanging_the_models_negates_the_difference_of_texts(pairs, random):
    teacher, student = zip(*pairs, strict=True)
    num_bytes = [random.randint(1, 5000) for _ in pairs]
    assert_exchanged(
        only(text(teacher, num_bytes), text(student, num_bytes)),
        only(text(student, num_bytes), text(teacher, num_bytes)),
    )


def assert_exchanged(forth, back):
    near = {"rel": 1e-9, "abs": 1e-9}
    assert back.difference.value == pytest.approx(-forth.difference.value, **near)
    assert back.p_value == pytest.approx(forth.p_value, rel=1e-6)
    assert (back.teacher.value, back.student.value) == (forth.student.value, forth.teacher.value)
    if forth.difference.ci_low is not None:
        ends = (-forth.difference.ci_high, -forth.difference.ci_low)
        assert (back.difference.ci_low, back.difference.ci_high) == pytest.approx(ends, **near)
    if forth.retention.value and back.retention.value:
        assert back.retention.value == pytest.approx(1 / forth.retention.value)


def test_the_order_of_documents_changes_no_byte():
    tasks, groups = everything()
    others, _ = everything(noise=0.1)
    shuffled = {}
    for name, task in others.items():
        order = list(range(len(task.columns[0])))
        shuffled[name] = replace(task, order=order[7:] + order[:7][::-1])
    teacher = evaluated("big", tasks, groups=groups)
    first = run(teacher, evaluated("small", others, groups=groups))
    assert to_json(run(teacher, evaluated("small", shuffled, groups=groups))) == to_json(first)


def test_the_same_arguments_give_the_same_bytes_and_read_back():
    first, again = to_json(whole()), to_json(whole())
    assert first == again
    assert from_json(Retention, first, source="test") == whole()
    assert to_json(whole(seed=5)) != first


@settings(max_examples=60)
@given(PAIRS, st.sampled_from([{"min_retention": 0.9}, {"margin": 0.1}]))
def test_every_number_is_in_its_interval_and_every_gap_has_a_reason(pairs, options):
    teacher, student = zip(*pairs, strict=True)
    entry = only(binary(teacher, options=2), binary(student, options=2), **options)
    parts = (
        entry.teacher,
        entry.student,
        entry.difference,
        entry.retention,
        entry.retention_above_chance,
        entry.contrast,
    )
    for part in parts:
        missing = None in (part.value, part.stderr, part.ci_low, part.ci_high)
        assert missing == (part.reason is not None)
        if part.value is not None and part.ci_low is not None:
            assert part.ci_low - 1e-12 <= part.value <= part.ci_high + 1e-12


@settings(max_examples=60)
@given(PAIRS)
def test_the_verdict_by_retention_is_whether_the_interval_of_retention_is_above_it(pairs):
    teacher, student = zip(*pairs, strict=True)
    entry = only(binary(teacher), binary(student), min_retention=0.8)
    if entry.retention.ci_low is not None and abs(entry.retention.ci_low - 0.8) > 1e-9:
        assert (entry.verdict == "PASS") == (entry.retention.ci_low > 0.8)
        assert (entry.verdict == "FAIL") == (entry.retention.ci_high < 0.8)


# The whole.


def test_the_overall_verdict_needs_every_task():
    good = binary(cells(both=900, neither=100)[0])
    bad = binary(cells(both=500, neither=500)[0])
    few = binary([1, 1, 0])
    teacher = {"a": good, "b": good, "c": few}
    found = run(
        evaluated("big", teacher), evaluated("small", teacher), evaluated("worse", {"a": good, "b": bad, "c": few})
    )
    undecided, failed = found.verdicts
    assert (undecided.verdict, undecided.num_pass, undecided.num_fail, undecided.num_inconclusive) == (
        "INCONCLUSIVE",
        2,
        0,
        1,
    )
    assert (failed.verdict, failed.num_pass, failed.num_fail, failed.num_inconclusive) == ("FAIL", 1, 1, 1)
    assert (failed.worst_task, failed.worst_retention) == ("b", pytest.approx(5 / 9))
    assert failed.mean_retention == pytest.approx((1 + 5 / 9 + 1) / 3)
    one = run(evaluated("big", {"a": good}), evaluated("small", {"a": good})).verdicts[0]
    assert (one.verdict, one.num_pass) == ("PASS", 1)


def test_holm_adjusts_over_the_primary_entries_of_each_student():
    found = whole()
    raw = {e.task: e.p_value for e in found.entries if e.primary}
    adjusted = {e.task: e.p_adjusted for e in found.entries if e.primary}
    smallest = min(raw, key=raw.get)
    assert len(raw) == 5
    assert adjusted[smallest] == pytest.approx(min(1.0, 5 * raw[smallest]))
    assert {e.p_adjusted for e in found.entries if not e.primary} == {None}


def test_what_was_planned_is_stored_beside_what_was_seen():
    teacher, student = cells(both=50, student_only=6, teacher_only=8, neither=36)
    found = only(binary(teacher), binary(student))
    plan = planned_power(100, kind="binary", level=0.95)
    assert (found.power.planned_discordance, found.power.planned_detectable_drop) == (0.2, plan.planned_detectable_drop)
    half = max(found.difference.value - found.difference.ci_low, found.difference.ci_high - found.difference.value)
    assert found.power.detectable_drop == pytest.approx(half * (1 + 0.8416212 / 1.9599640), rel=1e-6)


def test_the_documents_to_settle_settle_it():
    """Ten times the documents in the same proportions: the answer given for one tenth was right."""
    teacher, student = cells(both=60, student_only=5, teacher_only=6, neither=29)
    found = only(binary(teacher), binary(student), margin=0.05)
    needed = found.power.num_docs_to_settle
    assert found.verdict == "INCONCLUSIVE"
    times = -(-needed // 100)
    counts = {"both": 60 * times, "student_only": 5 * times, "teacher_only": 6 * times, "neither": 29 * times}
    teacher, student = cells(**counts)
    assert only(binary(teacher), binary(student), margin=0.05).verdict == "PASS"
    half = {name: count // 2 for name, count in counts.items()}
    teacher, student = cells(**half)
    assert only(binary(teacher), binary(student), margin=0.05).verdict == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (criterion(level=1.5), "--level is 1.5: expected a number between 0 and 1, such as 0.95"),
        (criterion(min_retention=0.0), "--min-retention is 0.0: expected a share above 0, at most 1, such as 0.95"),
        (criterion(min_retention=95), "--min-retention is 95: expected a share above 0, at most 1, such as 0.95"),
        (criterion(margin=-0.1), "--margin is -0.1: expected a number of at least 0, such as 0.02"),
        (
            Criterion(min_retention=0.9, margin=0.1, level=0.95),
            "give either --min-retention or --margin, not both and not neither",
        ),
    ],
)
def test_a_criterion_out_of_range_is_refused(bad, message):
    from unit.compare.build import PROVENANCE

    from distill_eval.compare import compare

    model = evaluated("big", {"task": binary([1, 0])})
    with pytest.raises(UsageError) as error:
        compare(model, [model], bad, seed=0, provenance=PROVENANCE)
    assert str(error.value) == message


def test_no_student_is_refused():
    with pytest.raises(UsageError, match="there is no student to compare: name one with --student"):
        run(evaluated("big", {"task": binary([1, 0])}))


def test_a_margin_that_every_student_meets_is_refused():
    tasks = {"arc": binary([1, 0]), "squad": real([0.5, 0.6])}
    with pytest.raises(UsageError) as error:
        run(evaluated("big", tasks), evaluated("small", tasks), margin=2.0)
    assert str(error.value) == (
        "--margin 2: arc is scored from 0 to 1, so every student would pass. Expected less than 1; for 2 points type "
        "--margin 0.02"
    )
    assert only(real([0.5, 0.6]), real([0.5, 0.6]), margin=2.0).verdict == "PASS"
    assert only(binary([1, 0]), binary([1, 0]), margin=0.9).verdict == "INCONCLUSIVE"


def test_a_margin_without_end_is_refused():
    with pytest.raises(UsageError, match=r"--margin is inf: expected a number of at least 0, such as 0\.02"):
        run(evaluated("big", {"arc": binary([1, 0])}), margin=math.inf)


def test_the_tasks_facts_are_kept():
    changes = {"version": "2.0", "num_fewshot": 5, "dataset": "org/arc:easy", "dataset_revision": "abc"}
    model = evaluated("big", {"arc": binary([1, 0, 1], total=9, changes=changes)})
    (task,) = run(model, model).tasks
    assert (task.task, task.version, task.num_fewshot, task.num_docs, task.num_docs_total) == ("arc", "2.0", 5, 3, 9)
    assert (task.dataset, task.dataset_revision, task.output_type) == ("org/arc:easy", "abc", "multiple_choice")
    assert task.prompts_digest == "p" * 64


def test_documents_of_uneven_length_say_less():
    found = only(text([1.0, 1.1, 0.9], [100, 100, 800]), text([1.0, 1.2, 1.0], [100, 100, 800]))
    assert found.num_pairs_effective == pytest.approx(1000**2 / (100**2 + 100**2 + 800**2))
    assert only(binary([1, 0, 1]), binary([1, 0, 1])).num_pairs_effective == 3.0
