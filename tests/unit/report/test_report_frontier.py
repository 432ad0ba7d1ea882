"""What no other variant beats, and what to ship of it."""

from hypothesis import given
from hypothesis import strategies as st

from distill_eval.report.frontier import beaten_by, choose, passing, with_frontier
from distill_eval.schema.bench import Ratio
from distill_eval.schema.gate import Rule, RuleResult
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import Estimate

LOAD = "concurrency 16"
NOTHING = Estimate(value=None, reason="not measured")


def speed(value, low=None, high=None):
    ratio = None if value is None else Ratio(value=value, ci_low=low, ci_high=high, pairs=(value,))
    return Speed(
        load=LOAD, ttft_p50_ms=1.0, ttft_p99_ms=2.0, tpot_p50_ms=1.0, tpot_p99_ms=2.0, output_throughput=10.0,
        speedup=ratio, reason=None if ratio else "it is the baseline",
    )  # fmt: skip


def row(name, size=None, fast=None, kept=None, *, verdict="PASS", role="student", speeds=None):
    return Variant(
        name=name, ref=f"runs/{name}", role=role, engine="hf", bench_engine="vllm", quantization=None,
        num_parameters=1000, size_bytes=size, size_ratio=None if size is None else size / 100,
        retention=Estimate(value=kept, reason=None if kept else "none"), worst_task=None, worst_retention=NOTHING,
        retention_above_chance=NOTHING, gap_recovered=NOTHING, kl=NOTHING, top1_agreement=NOTHING,
        speeds=(speed(fast),) if speeds is None and fast else speeds or (), peak_bytes=None,
        verdict=None if role == "teacher" else verdict, on_frontier=None, reasons={"on_frontier": "not measured"},
    )  # fmt: skip


TEACHER = row("teacher", 100, None, 1.0, role="teacher", speeds=(speed(None),))


def frontier(*rows):
    return {one.name: one.on_frontier for one in with_frontier((TEACHER, *rows), LOAD)}


def test_who_is_beaten_in_all_three_is_not_on_the_frontier():
    rows = (
        row("small", 30, 1.5, 0.9),
        row("fast", 50, 2.5, 0.9),
        row("worse", 50, 1.5, 0.9),
        row("twin", 50, 2.5, 0.9),
    )
    assert frontier(*rows) == {"teacher": True, "small": True, "fast": True, "worse": False, "twin": True}
    assert beaten_by(rows[2], rows, LOAD) == ["small", "fast", "twin"]


def test_a_teacher_that_is_beaten_is_beaten():
    assert frontier(row("better", 50, 2.0, 1.01))["teacher"] is False


def test_what_was_not_measured_is_not_placed_and_beats_nobody():
    rows = (row("unknown", None, 9.0, 2.0), row("slow", 50, None, 0.9), row("placed", 50, 1.5, 0.9))
    assert frontier(*rows) == {"teacher": True, "unknown": None, "slow": None, "placed": True}
    placed = {one.name: one for one in with_frontier((TEACHER, *rows), LOAD)}
    assert placed["unknown"].reasons["on_frontier"] == "not measured"
    assert "on_frontier" not in placed["placed"].reasons


def test_a_baseline_is_never_placed():
    baseline = row("baseline", 10, 9.0, 2.0, role="baseline")
    found = with_frontier((TEACHER, baseline, row("student", 50, 1.5, 0.9)), LOAD)
    assert [one.on_frontier for one in found] == [True, None, True]
    assert found[1].reasons["on_frontier"] == "a baseline is not for shipping"


def test_the_fastest_that_passes_is_shipped_then_the_smallest_then_what_keeps_most():
    fast, small = row("fast", 50, 2.0, 0.97), row("small", 30, 1.5, 0.97)
    failing = row("failing", 10, 9.0, 0.5, verdict="FAIL")
    assert choose((TEACHER, small, fast, failing), LOAD, ()) is fast
    assert choose((TEACHER, row("big", 60, 2.0, 0.99), fast), LOAD, ()) is fast
    assert choose((TEACHER, row("a", 50, 2.0, 0.96), fast), LOAD, ()) is fast
    assert choose((TEACHER, row("unmeasured", 10, None, 0.99), small), LOAD, ()) is small
    assert choose((TEACHER, failing), LOAD, ()) is None


def test_a_rule_that_is_not_kept_stops_a_variant():
    rule = RuleResult(
        rule=Rule(name="min-speedup", bound=3.0), student="fast", where=LOAD, observed=NOTHING, verdict="INCONCLUSIVE",
        text="fast: at least 3.00x was not shown",
    )  # fmt: skip
    rows = (TEACHER, row("fast", 50, 2.0, 0.97), row("small", 30, 1.5, 0.97))
    assert [one.name for one in passing(rows, [rule])] == ["small"]
    assert choose(rows, LOAD, [rule]).name == "small"


some = st.sampled_from([1, 2, 3])


@given(st.lists(st.tuples(some, some, some), min_size=1, max_size=6))
def test_nobody_beats_what_is_shipped_and_somebody_is_always_on_the_frontier(points):
    rows = [row(str(place), 10 * size, fast, kept / 3) for place, (size, fast, kept) in enumerate(points)]
    assert beaten_by(choose(rows, LOAD, ()), rows, LOAD) == []
    assert any(one.on_frontier for one in with_frontier(rows, LOAD))
