"""What a student is expected to keep: three estimates that are never mixed."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from fakes.subjects import facts, retention

from distill_eval.errors import UsageError
from distill_eval.plan.quality import (
    TELLABLE,
    TERMS,
    OwnRun,
    anchors_fit,
    fit_errors,
    fit_text,
    own_runs,
    retained,
    terms,
    used_anchors,
)
from distill_eval.record import from_json
from distill_eval.schema.retention import Retention, StudentVerdict

REPORTS = Path(__file__).resolve().parents[3] / "reports"


def theirs():
    """The fit by statsmodels, from the anchors alone."""
    used = used_anchors()
    halvings = np.log2([one.compression for one in used])
    prompted = np.array([not one.fine_tuned for one in used])
    methods = [[one.method == name for one in used] for name in ("attention", "feature")]
    X = np.column_stack([np.ones(len(used)), prompted, halvings, prompted * halvings, *methods])
    y = [math.log(max(1 - one.retention, TELLABLE)) for one in used]
    return sm.OLS(np.array(y), X).fit()


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


def test_the_fit_is_that_of_statsmodels():
    assert anchors_fit().coefficients == pytest.approx(theirs().params)
    assert anchors_fit().variance == pytest.approx(theirs().scale)
    assert len(TERMS) == len(anchors_fit().coefficients)


@pytest.mark.parametrize(
    ("compression", "method", "fine_tuned"),
    [(2.0, "logit", False), (6.0, "feature", False), (4.0, "attention", True), (15.0, "logit", True)],
)
def test_its_interval_is_that_of_statsmodels(compression, method, fine_tuned):
    figure = retained(compression, method, (), fine_tuned=fine_tuned).fit
    prediction = theirs().get_prediction([terms(compression, fine_tuned=fine_tuned, method=method)])
    low, high = prediction.conf_int(obs=True, alpha=0.2)[0]
    assert figure.value == pytest.approx(1 - math.exp(prediction.predicted_mean[0]))
    assert figure.low == pytest.approx(max(0, 1 - math.exp(high)))
    assert figure.high == pytest.approx(1 - math.exp(low))


def test_as_many_anchors_are_inside_as_the_interval_says():
    shares = dict(anchors_fit().inside)
    assert shares[0.8] == pytest.approx(0.8, abs=0.1)
    assert shares[0.95] == pytest.approx(0.95, abs=0.05)


def test_the_sentence_has_the_error_of_the_page():
    off = math.sqrt(np.mean(np.square(fit_errors(anchors_fit()))))
    assert f"they are {off:.3f} off" in fit_text()
    page = (REPORTS.parent / "docs" / "anchors.md").read_text(encoding="utf-8")
    assert fit_text() in page
    assert f"{off:.4f}" in page


def test_the_design_page_has_the_figures_of_the_fit():
    page = " ".join((REPORTS.parent / "docs" / "design" / "plan.md").read_text(encoding="utf-8").split())
    used = used_anchors()
    kept = np.array([one.retention for one in used])
    mean = np.sqrt(np.mean(((kept.sum() - kept) / (len(kept) - 1) - kept) ** 2))
    off = math.sqrt(np.mean(np.square(fit_errors(anchors_fit()))))
    assert f"the anchors are {off:.3f} off (root mean square), {mean:.3f} with nothing but their mean" in page
    share, wide = (round(100 * share) for _, share in anchors_fit().inside)
    assert f"{share} % of them are inside their own 80 % interval and {wide} % inside their own 95 %" in page
    for fine_tuned, whose in ((True, "Fine-tuned encoders reach"), (False, "prompted language models")):
        reach = [one.compression for one in used if one.fine_tuned == fine_tuned]
        assert f"{whose} from {min(reach):.3g} to {max(reach):.3g}" in page
    assert f"Six over {len(used)} anchors. Tokens are known of nine" in page
    assert sum(one.tokens is not None for one in used) == 9


@pytest.mark.parametrize(
    ("compression", "method", "fine_tuned", "said"),
    [
        (25, "logit", True, "the published anchors of fine-tuned encoders reach from 1.32 to 15.5 times; 25 times"),
        (8, "logit", False, "the published anchors of prompted language models reach from 1.33 to 6.5 times; 8 times"),
        (1.1, "logit", False, "1.1 times is outside"),
        (2, "progressive", False, "no published anchor of prompted language models by the method progressive"),
        (2, "response", True, "by attention, feature, logit: --method logit"),
        (2, "attention", False, "by feature, logit: --method logit"),
    ],
)
def test_where_the_anchors_do_not_reach_there_is_no_value(compression, method, fine_tuned, said):
    figure = retained(compression, method, (), fine_tuned=fine_tuned).fit
    assert figure.value is figure.low is figure.high is None
    assert said in figure.source


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
