"""The first sentences of a report."""

from dataclasses import replace

import pytest

from distill_eval.report.decision import verdict
from distill_eval.schema.bench import Ratio
from distill_eval.schema.gate import Rule, RuleResult
from distill_eval.schema.report import Speed, Variant
from distill_eval.schema.retention import Estimate

LOAD = "concurrency 16"
NOTHING = Estimate(value=None, reason="not measured")


def ratio(value, half):
    return Ratio(value=value, ci_low=value - half, ci_high=value + half, pairs=(value,))


def row(name, fast=None, kept=None, result=None, **changes):
    speed = Speed(
        load=LOAD, ttft_p50_ms=1.0, ttft_p99_ms=2.0, tpot_p50_ms=1.0, tpot_p99_ms=2.0, output_throughput=10.0,
        speedup=fast,
    )  # fmt: skip
    retention = Estimate(value=kept, stderr=0.01, ci_low=kept - 0.02, ci_high=kept + 0.02) if kept else NOTHING
    made = Variant(
        name=name, ref=f"runs/{name}", role="student", engine="hf", bench_engine="vllm", quantization=None,
        num_parameters=1000, size_bytes=31, size_ratio=0.31, retention=retention, worst_task="hellaswag",
        worst_retention=replace(retention, value=kept and kept - 0.05), retention_above_chance=NOTHING,
        gap_recovered=NOTHING, kl=NOTHING, top1_agreement=NOTHING, speeds=(speed,) if fast else (), peak_bytes=None,
        verdict=result, on_frontier=None, reasons={},
    )  # fmt: skip
    return replace(made, **changes)


TEACHER = row("big", kept=1.0, role="teacher")


@pytest.fixture
def entry(examples):
    def make(name, task, result, settle=None, **changes):
        power = examples.power(num_docs_to_settle=settle)
        return examples.entry(
            f"runs/{name}", task, verdict=result, power=power, num_pairs=500, num_docs_total=5153, **changes
        )

    return make


def test_what_to_ship_and_why_then_what_would_settle_another(entry):
    rows = (
        TEACHER,
        row("w8a8", ratio(2.4, 0.2), 0.971, "PASS"),
        row("w4a16", ratio(2.2, 0.2), 0.95, "INCONCLUSIVE"),
        row("nf4", ratio(0.8, 0.1), 0.90, "FAIL"),
    )
    entries = {
        "w8a8": [entry("w8a8", "lambada", "PASS")],
        "w4a16": [entry("w4a16", "lambada", "INCONCLUSIVE", 2390), entry("w4a16", "sciq", "PASS")],
        "nf4": [entry("nf4", "lambada", "FAIL", retention=Estimate(value=0.8, ci_low=0.75, ci_high=0.85))],
    }
    assert verdict(rows, entries, LOAD, ()) == (
        "Ship w8a8. It keeps 97.1 % [95.1, 99.1] of big (worst: hellaswag 92.1 % [95.1, 99.1]), at 0.31x the size and "
        "2.40x [2.20, 2.60] the throughput at concurrency 16. w4a16 is INCONCLUSIVE on lambada: about 1,900 more "
        "documents of lambada would settle it. nf4 fails on lambada (80.0 % [75.0, 85.0]). nf4 (0.80x [0.70, 0.90]) is "
        "slower than the teacher at concurrency 16."
    )


def test_the_nearest_is_named_where_none_passes(entry):
    rows = (
        TEACHER,
        row("bad", None, 0.5, "FAIL"),
        row("near", None, 0.96, "INCONCLUSIVE"),
        row("far", None, 0.9, "INCONCLUSIVE"),
    )
    entries = {
        "bad": [entry("bad", "a", "FAIL")],
        "near": [entry("near", "a", "INCONCLUSIVE", 9000), entry("near", "b", "PASS")],
        "far": [entry("far", "a", "INCONCLUSIVE"), entry("far", "b", "INCONCLUSIVE")],
    }
    assert verdict(rows, entries, None, ()) == (
        "Ship none of these yet. The nearest is near: it keeps 96.0 % [94.0, 98.0] of big (worst: hellaswag 91.0 % "
        "[94.0, 98.0]), at 0.31x the size; its speed was not measured. near is INCONCLUSIVE on a: a has too few "
        "documents to settle it. far is inconclusive too. bad is failing."
    )


@pytest.mark.parametrize(
    ("result", "first"),
    [
        ("FAIL", "Do not ship one. It keeps 90.0 %"),
        ("INCONCLUSIVE", "Not enough evidence to ship one. It keeps 90.0 %"),
    ],
)
def test_one_student_that_does_not_pass(entry, result, first):
    text = verdict((TEACHER, row("one", None, 0.9, result)), {"one": [entry("one", "a", result)]}, None, ())
    assert text.startswith(first)


def test_all_that_fail_are_not_yet_to_be_waited_for(entry):
    rows = (TEACHER, row("a", None, 0.9, "FAIL"), row("b", None, 0.8, "FAIL"))
    entries = {name: [entry(name, "task", "FAIL")] for name in "ab"}
    assert verdict(rows, entries, None, ()).startswith("Ship none of these. The nearest is a: ")


@pytest.mark.parametrize(("result", "first"), [("FAIL", "Do not ship one."), ("INCONCLUSIVE", "Not enough evidence")])
def test_what_passes_but_for_the_gate_says_so(entry, result, first):
    rule = RuleResult(
        rule=Rule(name="min-speedup", bound=3.0), student="one", where=LOAD, observed=NOTHING, verdict=result,
        text="min-speedup 3 at concurrency 16: 2.40x [2.20, 2.60]",
    )  # fmt: skip
    rows = (TEACHER, row("one", ratio(2.4, 0.2), 0.97, "PASS"))
    text = verdict(rows, {"one": [entry("one", "a", "PASS")]}, LOAD, (rule,))
    assert text.startswith(first)
    assert "one passes on every task; the gate: min-speedup 3 at concurrency 16: 2.40x [2.20, 2.60]." in text


def test_without_a_comparison_there_is_no_verdict():
    rows = (TEACHER, row("one", ratio(2.4, 0.2)))
    assert verdict(rows, {}, LOAD, ()) == (
        "There is no verdict: nothing was compared with the teacher. Type e.g. distill-eval compare --teacher runs/big "
        "--student A,B"
    )
