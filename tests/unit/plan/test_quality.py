"""What a student is expected to keep: three estimates that are never mixed."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes.subjects import facts, retention

from distill_eval.errors import UsageError
from distill_eval.plan.quality import OwnRun, own_runs, retained
from distill_eval.record import from_json
from distill_eval.schema.retention import Retention, StudentVerdict

REPORTS = Path(__file__).resolve().parents[3] / "reports"


def test_the_rule_is_the_published_example():
    """70B to 8B: 91.9 % kept, on 6.88 billion tokens where the logarithm is to base 10."""
    kept = retained(8.75, "logit", ())
    assert kept.rule.value == pytest.approx(0.919, abs=5e-4)
    assert kept.tokens.low == pytest.approx(6.88e9, abs=5e6)
    assert kept.tokens.value == pytest.approx(5e9 * (1 + 0.4 * math.log2(8.75)))
    assert kept.rule.low is kept.rule.high is None


@pytest.mark.parametrize(
    ("compression", "share", "tokens"), [(1, 1.0, 5e9), (2, 1 - 0.02592, 7e9), (16, 0.89632, 13e9)]
)
def test_the_rule_by_halvings(compression, share, tokens):
    kept = retained(compression, "attention", ())
    assert (kept.rule.value, kept.tokens.value) == pytest.approx((share, tokens))


def test_a_student_above_its_teacher_is_refused():
    with pytest.raises(UsageError, match=r"a compression of 0\.5: expected 1 or more"):
        retained(0.5, "logit", ())


# ---- own runs


def run(compression, share):
    return OwnRun(compression=compression, retention=share, source=f"student {compression}")


def test_lambda_of_own_runs_by_hand():
    """Through the origin: sum(xy) / sum(xx) of 12 log2 r and the percent lost."""
    figure = retained(4, "logit", (run(2, 0.94), run(4, 0.86), run(8, 0.82))).own
    x, y = np.array([12.0, 24, 36]), np.array([6.0, 14, 18])
    slope = x @ y / (x @ x)
    scale = np.sum((y - slope * x) ** 2) / 2
    half = 1.885618 * math.sqrt(scale * (1 + 24**2 / (x @ x)))  # t(2, 80 %)
    assert figure.value == pytest.approx(1 - slope * 24 / 100)
    assert (figure.low, figure.high) == pytest.approx((1 - (slope * 24 + half) / 100, 1 - (slope * 24 - half) / 100))
    assert f"lambda {slope:.3g} +- {math.sqrt(scale / (x @ x)):.2g} (standard error) fitted to 3 runs" in figure.source
    assert "beyond which" not in figure.source
    assert "8 times smaller, beyond which" in retained(9, "logit", (run(2, 0.94), run(8, 0.82))).own.source


@pytest.mark.parametrize(("own", "said"), [((), "no run of a smaller"), ((run(2, 0.9),), "one run of a smaller")])
def test_fewer_than_two_own_runs_have_no_spread(own, said):
    figure = retained(4, "logit", own).own
    assert figure.value is None
    assert figure.source.startswith(said)
    assert "--runs" in figure.source


def test_own_runs_of_a_published_report():
    path = REPORTS / "2026-11-22-smollm2-layers-dropped" / "retention.json"
    found = from_json(Retention, path.read_text(encoding="utf-8"), source=str(path))
    runs = own_runs({"a": found, "a copy": found})
    assert [one.compression for one in runs] == pytest.approx([134515008 / 113274432, 134515008 / 120354624])
    assert [one.retention for one in runs] == pytest.approx([0.824711659987, 0.869432496538])
    assert runs[0].source == "student-24-layers in a"


def test_variants_and_what_has_no_size_or_no_share_are_not_runs():
    half = replace(facts("half"), num_parameters=50, weights_digest="half")
    students = (
        half,
        replace(half, ref="packed", quantization="nf4", weights_digest="packed"),
        replace(half, ref="whole", num_parameters=100, weights_digest="whole"),
        replace(half, ref="unknown", num_parameters=None, weights_digest="unknown"),
        replace(half, ref="unscored", weights_digest="unscored"),
    )
    verdicts = tuple(
        StudentVerdict(
            student_ref=one.ref,
            verdict="PASS",
            num_pass=1,
            num_fail=0,
            num_inconclusive=0,
            mean_retention=None if one.ref == "unscored" else 0.9,
            worst_task=None,
            worst_retention=None,
        )
        for one in students
    )
    teacher = replace(facts("teacher"), num_parameters=100)
    runs = own_runs({"runs/a": retention(teacher=teacher, students=students, verdicts=verdicts)})
    assert runs == (OwnRun(compression=2.0, retention=0.9, source="half in runs/a"),)
