"""Rules in, verdicts out."""

import pytest
from statsmodels.stats.proportion import proportion_confint
from unit.gate.made import change, facts, retention, rule, speed, with_entry, with_speeds

from distill_eval.errors import UsageError
from distill_eval.gate.facts import Facts
from distill_eval.gate.judge import check_places, judge
from distill_eval.schema.gate import overall
from distill_eval.schema.report import SET_RATE
from distill_eval.schema.retention import Estimate


def judged(rules, found):
    return [(one.rule.name, one.where, one.verdict) for one in judge(rules, found)]


def only(rules, found):
    (one,) = judge(rules, found)
    return one


def test_without_a_rule_the_comparisons_own_criterion_is_judged_as_the_comparison_did():
    for harmful, verdict in ((10, "PASS"), (30, "INCONCLUSIVE"), (90, "FAIL")):
        said = retention(harmful=harmful)
        assert said.entries[0].verdict == verdict
        one = only([], facts(harmful=harmful))
        assert (one.rule, one.where, one.verdict) == (rule("min-retention", 0.95), "arc", verdict)
        assert one.observed == said.entries[0].retention


def test_a_margin_is_a_criterion_too():
    one = only([], facts(harmful=10, margin=0.02))
    assert (one.rule, one.verdict) == (rule("margin", 0.02), "PASS")
    assert one.text.startswith("margin 0.02 on arc: -1.0 pp [")


def test_another_bound_than_the_comparisons_is_held_against_the_retentions_interval():
    found = facts(harmful=30)
    entry = found[0].compared[0].entry
    low, high = entry.retention.ci_low, entry.retention.ci_high
    assert 0.92 < low < 0.95 < high < 0.97
    for bound, verdict in ((low, "PASS"), (low + 1e-6, "INCONCLUSIVE"), (high, "INCONCLUSIVE"), (high + 1e-6, "FAIL")):
        assert only([rule("min-retention", bound)], found).verdict == verdict


def test_a_bound_for_one_task_takes_the_place_of_the_general_one_there():
    found = facts(harmful=30, tasks=("arc", "sciq"))
    assert judged([rule("min-retention", 0.9, "sciq")], found) == [
        ("min-retention", "arc", "INCONCLUSIVE"),
        ("min-retention", "sciq", "PASS"),
    ]
    assert judged([rule("margin", 0.1, "arc")], found) == [
        ("min-retention", "sciq", "INCONCLUSIVE"),
        ("margin", "arc", "PASS"),
    ]


def test_the_reason_is_one_line():
    passed = only([rule("min-retention", 0.9)], facts(harmful=30))
    assert passed.text == "min-retention 0.9 on arc: 95.2 % [93.3, 96.6], the whole interval keeps it"
    unsure = only([], facts(harmful=30))
    assert unsure.text.startswith("min-retention 0.95 on arc: 95.2 % [93.3, 96.6], the interval holds both; about ")
    assert unsure.text.endswith(" documents would settle it")
    failed = only([], facts(harmful=90))
    assert failed.text.endswith(", none of the interval keeps it")
    assert "\n" not in passed.text + unsure.text + failed.text


def test_size_is_exact():
    half = [rule("max-size-ratio", 0.5)]
    kept, missed = (judge(half, facts(size=size))[-1] for size in (2000, 2001))
    assert (kept.verdict, kept.observed) == ("PASS", Estimate(value=0.5, stderr=0.0, ci_low=0.5, ci_high=0.5))
    assert kept.text == "max-size-ratio 0.5: 0.5x the teacher's bytes, which keeps it"
    assert (missed.verdict, missed.text) == (
        "FAIL",
        "max-size-ratio 0.5: 0.5x the teacher's bytes, which does not keep it",
    )
    unknown = only(half, [Facts(student="small")])
    assert (unknown.verdict, unknown.where) == ("INCONCLUSIVE", None)
    assert unknown.text == (
        "max-size-ratio 0.5: not measured: the size of its weights or of the teacher's is not known"
    )


@pytest.mark.parametrize(
    ("bound", "verdict"), [(0.005, "FAIL"), (0.02, "INCONCLUSIVE"), (0.03, "INCONCLUSIVE"), (0.05, "PASS")]
)
def test_harmful_flips_have_the_exact_interval(bound, verdict):
    one = judge([rule("max-harmful-flips", bound)], facts(harmful=25))[-1]
    low, high = proportion_confint(25, 1000, alpha=0.05, method="beta")
    assert (one.observed.value, one.observed.ci_low, one.observed.ci_high) == pytest.approx((0.025, low, high))
    assert one.verdict == verdict
    assert one.text.startswith(f"max-harmful-flips {bound:g} on arc: 2.5 % [1.6, 3.7] (25 of 1,000), ")


def test_no_flip_at_all_is_evidence_only_with_enough_documents():
    """Of 1,000 documents without a flip, more than 0.37 % of flips are excluded (1 - 0.025 ** (1 / 1000))."""
    found = facts(harmful=0)
    assert judge([rule("max-harmful-flips", 0.0037)], found)[-1].verdict == "PASS"
    assert judge([rule("max-harmful-flips", 0.0036)], found)[-1].verdict == "INCONCLUSIVE"


def test_flips_are_asked_of_0_1_metrics_alone_and_their_lack_is_no_pass():
    real = with_entry(facts(tasks=("arc", "f1")), flips=None, kind="real")
    flips = [rule("max-harmful-flips", 0.05)]
    assert judged(flips, real)[2:] == [("max-harmful-flips", "f1", "PASS")]
    alone = judge(flips, with_entry(facts(), flips=None, kind="real"))[-1]
    assert (alone.where, alone.verdict) == (None, "INCONCLUSIVE")
    assert alone.text == "max-harmful-flips 0.05: not measured: flips are counted for 0/1 metrics only"
    lost = with_entry(facts(), flips=None, difference=Estimate(value=None, reason="3 documents have no number"))
    assert judge(flips, lost)[-1].text == "max-harmful-flips 0.05 on arc: not measured: 3 documents have no number"


def test_speedups_are_judged_under_every_load():
    found = with_speeds(
        speed(2.0, 2.1, 1.9, 2.0, load="concurrency 1"),
        speed(1.4, 1.6, 1.5, 1.5, load="concurrency 4"),
        speed(1.0, 1.1, 1.0, 1.1, load="concurrency 16"),
    )
    assert judged([rule("min-speedup", 1.5)], found) == [
        ("min-speedup", "concurrency 1", "PASS"),
        ("min-speedup", "concurrency 4", "INCONCLUSIVE"),
        ("min-speedup", "concurrency 16", "FAIL"),
    ]
    assert judged([rule("min-speedup", 1.5, "concurrency 1")], found) == [("min-speedup", "concurrency 1", "PASS")]
    assert judged([rule("min-speedup", 1.5), rule("min-speedup", 0.9, "concurrency 16")], found)[2] == (
        "min-speedup",
        "concurrency 16",
        "PASS",
    )
    text = judge([rule("min-speedup", 1.5)], found)[0].text
    assert text.startswith("min-speedup 1.5 at concurrency 1: 2.00x [")


def test_a_speedup_without_an_interval_passes_nothing():
    two = only([rule("min-speedup", 1.5)], with_speeds(speed(3.0, 3.1)))
    assert two.verdict == "INCONCLUSIVE"
    assert two.text == (
        "min-speedup 1.5 at concurrency 4: 3.05x without an interval: 2 repeats cannot show a spread; measure with "
        "--repeats 3 or more"
    )
    lost = only([rule("min-speedup", 1.5)], with_speeds(speed(reason="no repeat was measured to its end")))
    assert lost.text == "min-speedup 1.5 at concurrency 4: not measured: no repeat was measured to its end"
    none = judge([rule("min-speedup", 1.5)], facts())[-1]
    assert (none.where, none.verdict) == (None, "INCONCLUSIVE")
    assert none.text.endswith("not measured: no benchmark measured its speed beside the teacher's")


def test_a_set_rate_is_passed_over_where_another_load_has_a_speedup():
    rate = speed(load="4 requests/s", reason=SET_RATE)
    lost = speed(load="concurrency 8", reason="no repeat was measured to its end")
    general = [rule("min-speedup", 1.5)]
    judged_load = ("min-speedup", "concurrency 4", "PASS")
    fast = speed(2.0, 2.1, 1.9, 2.0)
    assert judged(general, with_speeds(rate, fast)) == [judged_load]
    assert judged(general, with_speeds(rate, fast, lost))[1] == ("min-speedup", "concurrency 8", "INCONCLUSIVE")
    assert judged(general, with_speeds(rate)) == [("min-speedup", "4 requests/s", "INCONCLUSIVE")]
    named = [*general, rule("min-speedup", 1.5, "4 requests/s")]
    assert judged(named, with_speeds(rate, fast)) == [
        judged_load,
        ("min-speedup", "4 requests/s", "INCONCLUSIVE"),
    ]


def test_a_student_without_a_comparison_is_not_passed_by_the_others():
    asked = judge([rule("min-retention", 0.9)], [Facts(student="new")])
    assert [(one.verdict, one.text) for one in asked] == [
        ("INCONCLUSIVE", "min-retention 0.9: not measured: no comparison has judged it")
    ]


def test_a_retention_without_bounds_is_judged_by_the_comparisons_contrast_and_says_so():
    unbounded = Estimate(value=0.2, reason="the teacher's score cannot be told from 0")
    found = with_entry(facts(), retention=unbounded, verdict="FAIL")
    assert only([], found).text == (
        "min-retention 0.95 on arc: 20.0 % without an interval (the teacher's score cannot be told from 0); the "
        "comparison's contrast decides: none of the interval keeps it"
    )
    assert only([rule("min-retention", 0.5)], found).verdict == "INCONCLUSIVE"


def test_a_rule_for_a_place_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown task in --rule acr:min-retention=0.9: 'acr'. Did you mean 'arc'\?"):
        judge([rule("min-retention", 0.9, "acr")], facts())
    with pytest.raises(UsageError, match="unknown load in --rule concurrency 5:min-speedup=2: 'concurrency 5'"):
        judge([rule("min-speedup", 2.0, "concurrency 5")], with_speeds(speed(2.0, 2.0)))
    check_places([rule("min-speedup", 2.0, "concurrency 5")], ["arc"], "task")  # judged by a report, not here


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["PASS", "PASS"], "PASS"),
        (["PASS", "INCONCLUSIVE"], "INCONCLUSIVE"),
        (["FAIL", "INCONCLUSIVE", "PASS"], "FAIL"),
        ([], "INCONCLUSIVE"),
    ],
)
def test_overall(verdicts, expected):
    one = only([], facts())
    results = [type(one)(**{**{f: getattr(one, f) for f in one.__slots__}, "verdict": verdict}) for verdict in verdicts]
    assert overall(results) == expected


def test_a_task_or_a_student_before_that_is_gone_passes_no_rule_on_losses():
    found = Facts(
        student="small", changes=(change(task="arc"),), uncompared=(("sciq", "the run after has none of it"),)
    )
    gone = Facts(student="other", uncompared=((None, "the run after has no student of this name"),))
    assert judged([rule("max-regression", 0.01)], [found, gone]) == [
        ("max-regression", "arc", "PASS"),
        ("max-regression", "sciq", "INCONCLUSIVE"),
        ("max-regression", None, "INCONCLUSIVE"),
    ]
    named = judge([rule("max-regression", 0.01), rule("max-regression", 0.5, "sciq")], [found])
    assert [one.text for one in named][1] == ("max-regression 0.5 on sciq: not measured: the run after has none of it")


def test_a_bound_that_every_student_keeps_is_refused_where_the_score_is_a_share():
    found = [Facts(student="small", changes=(change(task="arc"), change(task="wiki", unit="bits/byte")))]
    said = r"--max-regression 1: arc is scored from 0 to 1, so every student would pass.*type --max-regression 0.01$"
    with pytest.raises(UsageError, match=said):
        judge([rule("max-regression", 1.0)], found)
    with pytest.raises(UsageError, match=r"--rule arc:max-regression=2: .* type --rule arc:max-regression=0.02$"):
        judge([rule("max-regression", 0.01), rule("max-regression", 2.0, "arc")], found)
    own = [rule("max-regression", 1.0), rule("max-regression", 0.01, "arc")]
    assert judged(own, found) == [("max-regression", "wiki", "PASS"), ("max-regression", "arc", "PASS")]
    with pytest.raises(UsageError, match=r"--rule arc:margin=1: arc is scored from 0 to 1"):
        judge([rule("margin", 1.0, "arc")], facts())
