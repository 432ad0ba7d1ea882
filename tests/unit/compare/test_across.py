"""Two students of two comparisons, held against each other."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from unit.compare.build import Column, Task, binary, evaluated, group, run, text

from distill_eval.compare.across import NO_COMMON, NOT_THERE, Scored, changes, uncompared
from distill_eval.compare.alike import findings, require_alike
from distill_eval.compare.apart import difference_apart, p_of_interval
from distill_eval.errors import ArtifactError, NotComparableError
from distill_eval.schema.retention import Estimate

RNG = np.random.default_rng(7)
TEACHER = RNG.random(300) < 0.7
OLD = np.where(RNG.random(300) < 0.1, ~TEACHER, TEACHER)
NEW = np.where(RNG.random(300) < 0.15, ~TEACHER, TEACHER)


def scored(tasks, teacher, *, ref="small", groups=(), samples=True, **options):
    """A comparison's record and its student's documents."""
    student = evaluated(ref, tasks, groups=groups)
    found = run(evaluated("big", teacher, groups=groups), student, **options)
    return Scored(found, ref, student.samples if samples else {})


def both(old, new, teacher=None, **options):
    """The same teacher's two students."""
    teacher = teacher or old
    return scored(old, teacher, ref="old", **options), scored(new, teacher, ref="new", **options)


def only(*pair, level=0.95):
    (one,) = changes([pair], level=level)
    return one


def test_the_same_documents_are_paired_as_a_student_is_with_its_teacher():
    """The student after against the student before is what `compare` says of them in these roles."""
    before, after = both({"arc": binary(OLD)}, {"arc": binary(NEW)}, {"arc": binary(TEACHER)})
    one = only(before, after)
    expected = run(evaluated("old", {"arc": binary(OLD)}), evaluated("new", {"arc": binary(NEW)})).entries[0]
    assert (one.difference, one.before, one.after) == (expected.difference, expected.teacher, expected.student)
    assert (one.test, one.p_value, one.flips) == ("exact McNemar", expected.p_value, expected.flips)
    assert (one.num_pairs, one.num_docs_before, one.num_docs_after, one.reason) == (300, 300, 300, None)
    assert (one.retention_before, one.retention_after) == (
        before.retention.entries[0].retention,
        after.retention.entries[0].retention,
    )
    harmful, beneficial = int((OLD & ~NEW).sum()), int((~OLD & NEW).sum())
    assert (one.flips.num_harmful, one.flips.num_beneficial) == (harmful, beneficial)
    assert one.p_value == pytest.approx(binomtest(beneficial, harmful + beneficial).pvalue)


def test_without_documents_two_independent_estimates_are_put_together():
    before, after = both({"arc": binary(OLD)}, {"arc": binary(NEW)}, {"arc": binary(TEACHER)}, samples=False)
    one = only(before, after)
    old, new = before.retention.entries[0].student, after.retention.entries[0].student
    assert (one.num_pairs, one.reason, one.test, one.flips) == (None, NOT_THERE, "independent estimates", None)
    assert one.outcome == "worse"  # the interval is below 0
    assert one.difference.value == pytest.approx(NEW.mean() - OLD.mean())
    assert one.difference.ci_low == pytest.approx(
        new.value - old.value - math.hypot(new.value - new.ci_low, old.ci_high - old.value)
    )
    paired = only(*both({"arc": binary(OLD)}, {"arc": binary(NEW)}, {"arc": binary(TEACHER)}))
    assert one.difference.ci_high - one.difference.ci_low > paired.difference.ci_high - paired.difference.ci_low


def test_independent_estimates_as_published():
    """Newcombe 1998, table II (a): 56/70 - 48/80 is 0.2000 [0.0524, 0.3339] by method 10."""

    def wilson(right, total):
        interval = binomtest(right, total).proportion_ci(method="wilson")
        return Estimate(value=right / total, stderr=0.05, ci_low=interval.low, ci_high=interval.high)

    found = difference_apart(wilson(48, 80), wilson(56, 70))
    assert found.value == pytest.approx(0.2)
    assert (found.ci_low, found.ci_high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_the_p_value_of_an_interval_is_that_of_the_test_it_comes_from():
    """0.05 on the border, and of a normal estimate that of its z: 3 standard errors are 0.0027."""
    half = 1.959963984540054
    assert p_of_interval(Estimate(value=half, ci_low=0.0, ci_high=2 * half), 0.95) == pytest.approx(0.05)
    below = Estimate(value=-3.0, ci_low=-3 - half, ci_high=-3 + half)
    assert p_of_interval(below, 0.95) == pytest.approx(2 * norm.sf(3))
    assert p_of_interval(Estimate(value=0.0, ci_low=-1.0, ci_high=1.0), 0.95) == 1.0
    assert p_of_interval(Estimate(value=0.1, reason="no interval"), 0.95) is None


def test_other_documents_are_not_paired_and_common_ones_are():
    def shifted(side, by):
        samples = {
            name: [replace(sample, doc_hash=f"{sample.doc_hash}{by}") for sample in documents]
            for name, documents in side.samples.items()
        }
        return side._replace(samples=samples)

    before, after = both({"arc": binary(OLD)}, {"arc": binary(NEW)}, {"arc": binary(TEACHER)})
    apart = only(before, shifted(after, "x"))
    assert (apart.reason, apart.num_pairs) == (NO_COMMON, None)

    short = scored({"arc": binary(NEW[:120], total=300)}, {"arc": binary(TEACHER[:120], total=300)}, ref="new")
    one = only(before, short)
    assert (one.num_pairs, one.num_docs_before, one.num_docs_after) == (120, 300, 120)
    assert one.before.value == pytest.approx(OLD[:120].mean())
    assert one.difference.value == pytest.approx(NEW[:120].mean() - OLD[:120].mean())
    assert one.retention_before == before.retention.entries[0].retention  # of all its documents


def test_a_group_is_measured_over_its_tasks_as_the_comparison_does():
    sizes = {"a": slice(0, 100), "b": slice(100, 180), "c": slice(180, 300)}

    def tasks(right):
        return {name: binary(right[part]) for name, part in sizes.items()}

    for by_size in (True, False):
        groups = [group("mmlu", sizes, weight_by_size=by_size)]
        before, after = both(tasks(OLD), tasks(NEW), tasks(TEACHER), groups=groups)
        one = only(before, after)
        expected = run(
            evaluated("old", tasks(OLD), groups=groups), evaluated("new", tasks(NEW), groups=groups)
        ).entries[0]
        assert (one.task, one.num_tasks, one.test) == ("mmlu", 3, "clustered t")
        assert (one.difference, one.p_value, one.flips) == (expected.difference, expected.p_value, expected.flips)


def test_texts_are_compared_in_bits_per_byte():
    sizes = [100, 400, 50, 800, 300]
    old, new = [1.0, 0.8, 1.2, 0.9, 1.0], [1.1, 0.9, 1.1, 1.0, 1.2]
    for metrics in (("word_perplexity", "byte_perplexity", "bits_per_byte"), ("word_perplexity",)):
        before, after = both({"wiki": text(old, sizes, metrics)}, {"wiki": text(new, sizes, metrics)})
        one = only(before, after)
        assert (one.metric, one.unit, one.higher_is_better) == ("bits_per_byte", "bits/byte", False)
        expected = np.average(new, weights=sizes) - np.average(old, weights=sizes)
        assert one.difference.value == pytest.approx(expected)
        assert one.test == "paired t, documents weighted by bytes"


def test_p_values_are_adjusted_over_all_pairs_of_comparisons_together():
    first = both({"arc": binary(OLD)}, {"arc": binary(NEW)}, {"arc": binary(TEACHER)})
    second = both({"sciq": binary(OLD)}, {"sciq": binary(OLD)}, {"sciq": binary(TEACHER)})
    arc, sciq = changes([first, second], level=0.95)
    assert (arc.p_adjusted, sciq.p_adjusted) == (pytest.approx(min(1.0, 2 * arc.p_value)), 1.0)
    assert sciq.outcome == "unclear"
    worse = only(*both({"arc": binary([1] * 200)}, {"arc": binary([1] * 150 + [0] * 50)}))
    better = only(*both({"arc": binary([1] * 150 + [0] * 50)}, {"arc": binary([1] * 200)}))
    assert (worse.outcome, better.outcome) == ("worse", "better")


def test_a_corpus_metric_is_bootstrapped_where_it_is_known_and_kept_apart_where_not():
    def corpus(metric, wrong):
        items = [f"[{i % 2}, {(i % 2) ^ (i % wrong == 0)}]" for i in range(120)]
        return Task([Column(metric=metric, kind="corpus", aggregation=metric, items=items, score=0.5)])

    known = only(*both({"cola": corpus("mcc", 9)}, {"cola": corpus("mcc", 5)}))
    assert known.test == "paired bootstrap"
    assert known.difference.value < 0
    unknown = only(*both({"wmt": corpus("bleu", 9)}, {"wmt": corpus("bleu", 5)}))
    assert unknown.reason.startswith("the aggregation bleu is not one whose uncertainty is known")
    assert unknown.difference.ci_low is None


def test_a_cut_file_is_refused():
    before, after = both({"arc": binary(OLD)}, {"arc": binary(NEW)}, {"arc": binary(TEACHER)})
    cut = after._replace(samples={"arc": after.samples["arc"][:-1]})
    with pytest.raises(ArtifactError, match="new has 299 samples of 299 different documents for arc, expected one for"):
        changes([(before, cut)], level=0.95)


def test_what_must_be_equal():
    one = scored({"arc": binary(OLD)}, {"arc": binary(TEACHER)})
    require_alike(one.retention, one.retention)
    other_teacher = replace(one.retention, teacher=replace(one.retention.teacher, weights_digest="other"))
    with pytest.raises(NotComparableError, match="the teachers are not the same: big"):
        require_alike(one.retention, other_teacher)
    chat = replace(one.retention, manifest=replace(one.retention.manifest, apply_chat_template=True))
    with pytest.raises(NotComparableError, match="they differ in the chat template"):
        require_alike(one.retention, chat)
    with pytest.raises(NotComparableError, match=r"different levels, 0.95 before and 0.9 after"):
        require_alike(one.retention, scored({"arc": binary(OLD)}, {"arc": binary(TEACHER)}, level=0.9).retention)
    with pytest.raises(NotComparableError, match="no task in common: arc before, sciq after"):
        require_alike(one.retention, scored({"sciq": binary(OLD)}, {"sciq": binary(TEACHER)}).retention)


def test_what_is_left_out_is_said():
    both_teacher = {"arc": binary(TEACHER), "sciq": binary(TEACHER)}
    before = scored({"arc": binary(OLD), "sciq": binary(OLD)}, both_teacher)
    shots = {"num_fewshot": 5}
    after = scored(
        {"arc": binary(NEW, changes=shots), "piqa": binary(NEW)},
        {"arc": binary(TEACHER, changes=shots), "piqa": binary(TEACHER)},
    )
    assert changes([(before, after)], level=0.95) == ()
    assert uncompared([before], [after], ()) == {
        "arc": "it was not scored alike in both runs: few-shot examples 0 before and 5 after",
        "sciq": "the run after has none of it",
    }
    assert findings(before.retention, after.retention) == []
    prompts = {"prompts_digest": "q"}
    other = scored({"arc": binary(NEW, changes=prompts)}, {"arc": binary(TEACHER, changes=prompts)})
    texts = {(found.subject, found.text.partition(":")[0]) for found in findings(before.retention, other.retention)}
    assert ("arc", "Its requests are not the same in both runs") in texts


def test_a_task_whose_primary_metric_changed_is_left_out_with_both_names():
    before = scored({"arc": binary(OLD)}, {"arc": binary(TEACHER)})

    def other(right, **changes):
        return {"arc": Task([Column(list(map(float, right)), **changes)])}

    for changes_, said in (
        ({"metric": "acc_norm"}, "its metric is acc before and acc_norm after"),
        ({"filter": "strict"}, "its metric is acc before and acc (strict) after"),
    ):
        after = scored(other(NEW, **changes_), other(TEACHER, **changes_))
        assert changes([(before, after)], level=0.95) == ()
        assert uncompared([before], [after], ()) == {"arc": said}


def test_what_another_comparison_of_the_run_has_is_not_left_out():
    both_teacher = {"arc": binary(TEACHER), "sciq": binary(TEACHER)}
    old = [scored({name: binary(OLD)}, {name: binary(TEACHER)}) for name in ("arc", "sciq")]
    new = scored({"arc": binary(NEW), "sciq": binary(NEW)}, both_teacher)
    found = changes([(one, new) for one in old], level=0.95)
    assert [change.task for change in found] == ["arc", "sciq"]
    assert uncompared(old, [new], found) == {}


def test_a_group_that_a_task_keeps_apart_names_that_task():
    groups = [group("mmlu", ["a", "b"])]
    shots = {"num_fewshot": 5}

    def side(right, **changes):
        return {"a": binary(right[:150]), "b": binary(right[150:], changes=changes)}

    before = scored(side(OLD), side(TEACHER), groups=groups)
    after = scored(side(NEW, **shots), side(TEACHER, **shots), groups=groups)
    assert uncompared([before], [after], ()) == {
        "mmlu": "it was not scored alike in both runs: b: few-shot examples 0 before and 5 after"
    }
