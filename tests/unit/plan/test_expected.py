"""What published distillations lead to expect: the fit by statsmodels, how far off it is, and where it is silent."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from distill_eval.pipeline.planned import curve
from distill_eval.plan.expected import (
    FEWEST,
    TELLABLE,
    TERMS,
    anchors_fit,
    by_anchors,
    fit_errors,
    fit_text,
    reach,
    terms,
    unseen,
    unseen_text,
    used_anchors,
)

DOCS = Path(__file__).resolve().parents[3] / "docs"
KINDS = {True: "fine-tuned encoders", False: "prompted language models"}


def design():
    """Rows of the fit and its values, from the anchors alone."""
    used = used_anchors()
    halvings = np.log2([one.compression for one in used])
    prompted = np.array([not one.fine_tuned for one in used])
    methods = [[one.method == name for one in used] for name in ("attention", "feature")]
    X = np.column_stack([np.ones(len(used)), prompted, halvings, prompted * halvings, *methods])
    return X, np.array([math.log(max(1 - one.retention, TELLABLE)) for one in used])


def theirs():
    """The fit by statsmodels."""
    X, y = design()
    return sm.OLS(y, X).fit()


def ratios(method, *, fine_tuned):
    """Of the published students of one kind by one method."""
    return [one.compression for one in used_anchors() if (one.method, one.fine_tuned) == (method, fine_tuned)]


def test_the_fit_is_that_of_statsmodels():
    assert anchors_fit().coefficients == pytest.approx(theirs().params)
    assert anchors_fit().variance == pytest.approx(theirs().scale)
    assert len(TERMS) == len(anchors_fit().coefficients)


@pytest.mark.parametrize(
    ("compression", "method", "fine_tuned"),
    [
        (2.0, "logit", False),
        (6.0, "logit", False),
        (1.4, "logit", True),
        (6.0, "feature", True),
        (15.0, "attention", True),
    ],
)
def test_its_interval_is_that_of_statsmodels(compression, method, fine_tuned):
    figure = by_anchors(compression, method, fine_tuned=fine_tuned)
    prediction = theirs().get_prediction([terms(compression, fine_tuned=fine_tuned, method=method)])
    low, high = prediction.conf_int(obs=True, alpha=0.2)[0]
    assert figure.value == pytest.approx(1 - math.exp(prediction.predicted_mean[0]))
    assert figure.low == pytest.approx(max(0, 1 - math.exp(high)))
    assert figure.high == pytest.approx(1 - math.exp(low))


# ---- how far off it is


def refitted(kind):
    """Of each anchor of a kind its published retention, and what statsmodels says of it without it."""
    X, y = design()
    found = []
    for out, one in enumerate(used_anchors()):
        if one.fine_tuned == kind:
            rest = np.arange(len(y)) != out
            prediction = sm.OLS(y[rest], X[rest]).fit().get_prediction(X[out : out + 1])
            ends = [prediction.conf_int(obs=True, alpha=1 - level)[0] for level in (0.8, 0.95)]
            inside = [low <= y[out] <= high for low, high in ends]
            found.append((1 - math.exp(prediction.predicted_mean[0]) - one.retention, *inside))
    return np.array(found)


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_of_a_kind_is_that_of_its_own_anchors(kind):
    rows, found = refitted(kind), unseen(fine_tuned=kind)
    assert found.num_anchors == len(rows) == {True: 25, False: 10}[kind]
    assert found.off == pytest.approx(np.sqrt(np.mean(rows[:, 0] ** 2)))
    assert found.num_inside == tuple(rows[:, 1:].sum(axis=0))


def test_prompted_models_are_predicted_worse_than_encoders_and_the_kinds_together_are_all():
    encoders, prompted = (unseen(fine_tuned=kind) for kind in KINDS)
    assert prompted.off > 2 * encoders.off
    squares = encoders.num_anchors * encoders.off**2 + prompted.num_anchors * prompted.off**2
    assert squares == pytest.approx(np.sum(np.square(fit_errors(anchors_fit()))))


@pytest.mark.parametrize(("place", "level", "near"), [(0, 0.8, 0.1), (1, 0.95, 0.05)])
def test_as_many_anchors_are_inside_as_the_interval_says(place, level, near):
    inside = sum(unseen(fine_tuned=kind).num_inside[place] for kind in KINDS)
    assert inside / len(used_anchors()) == pytest.approx(level, abs=near)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_is_told_the_error_of_their_kind_alone(kind):
    other = unseen_text(fine_tuned=not kind)
    source = by_anchors(2.0, "logit", fine_tuned=kind).source
    assert unseen_text(fine_tuned=kind) in source
    assert other not in source
    assert f"{len(ratios('logit', fine_tuned=kind))} of them of {KINDS[kind]} by logit" in source
    assert unseen_text(fine_tuned=kind) in fit_text()


def test_the_design_page_has_what_the_kinds_mean_alone_is_off_and_both_kinds_together():
    page = " ".join((DOCS / "design" / "plan.md").read_text(encoding="utf-8").split())
    off = []
    for kind in KINDS:
        kept = np.array([one.retention for one in used_anchors() if one.fine_tuned == kind])
        off.append(np.sqrt(np.mean(((kept.sum() - kept) / (len(kept) - 1) - kept) ** 2)))
    assert f"the mean of the others of their kind they are {off[0]:.3f} and {off[1]:.3f} off" in page
    assert f"both together ({np.sqrt(np.mean(np.square(fit_errors(anchors_fit())))):.3f})" in page


def test_the_pages_have_the_error_of_each_kind():
    anchors, design = (
        " ".join((DOCS / name).read_text(encoding="utf-8").split()) for name in ("anchors.md", "design/plan.md")
    )
    readme = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    assert fit_text() in anchors
    for kind, whose in KINDS.items():
        found = unseen(fine_tuned=kind)
        inside, wide = found.num_inside
        assert f"| {whose} | {found.num_anchors} | {found.off:.4f} | {inside} of {found.num_anchors} |" in anchors
        assert f"{found.off:.3f} of retention for {found.num_anchors} {whose}" in readme
        assert f"{found.num_anchors} {whose} are {found.off:.3f} off" in design
        assert f"{inside} of them inside their own 80 % interval and {wide} inside their own 95 %" in design


# ---- where it has a value


def test_each_kind_reaches_as_far_as_the_points_of_each_method():
    for kind in KINDS:
        found = reach(fine_tuned=kind)
        assert set(found) == {one.method for one in used_anchors() if one.fine_tuned == kind}
        for method, its in found.items():
            points = ratios(method, fine_tuned=kind)
            assert (its.num_points, its.least, its.most) == (len(points), min(points), max(points))
            assert its.speaks == (len(points) >= FEWEST)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["logit", "feature", "attention", "response", "progressive"])
@pytest.mark.parametrize("compression", [1.0, 1.35, 1.65, 2.05, 2.2, 4.0, 6.6, 7.6, 12.0, 15.0, 20.0])
def test_a_value_stands_between_points_of_its_own_kind_and_method(kind, method, compression):
    points = ratios(method, fine_tuned=kind)
    figure = by_anchors(compression, method, fine_tuned=kind)
    inside = len(points) >= 3 and min(points) <= compression <= max(points)
    assert [end is not None for end in (figure.value, figure.low, figure.high)] == [inside] * 3


@pytest.mark.parametrize(
    ("compression", "method", "fine_tuned", "said"),
    [
        (15, "logit", True, "fine-tuned encoders by the method logit reach from 1.321 to 2.088 times"),
        (15, "logit", True, "15 times is outside"),
        (15, "logit", True, "--method attention (10 from 1.627 to 15.45 times) shows what those kept"),
        (6, "feature", False, "one published anchor of prompted language models by the method feature (at 1.373"),
        (6, "feature", False, "the fit needs 3 of its kind and method; --method logit (9 from 1.333 to 6.504 times)"),
        (1.373, "feature", False, "the fit needs 3"),
        (8, "logit", False, "reach from 1.333 to 6.504 times; 8 times is outside"),
        (8, "logit", False, "at 8 times there are not enough by any other method either"),
        (2, "progressive", False, "no published anchor of prompted language models by the method progressive"),
        (2, "attention", False, "that the fit may use; --method logit (9"),
        (2, "response", True, "--method feature (9 from 1.627 to 7.714 times) shows"),
    ],
)
def test_where_a_method_has_no_points_it_says_which_it_has_and_who_has_some(compression, method, fine_tuned, said):
    figure = by_anchors(compression, method, fine_tuned=fine_tuned)
    assert figure.value is figure.low is figure.high is None
    assert said in figure.source


def test_the_design_page_has_the_reach_of_each_kind_and_method():
    page = " ".join((DOCS / "design" / "plan.md").read_text(encoding="utf-8").split())
    used = used_anchors()
    assert f"Six over {len(used)} anchors. Tokens are known of nine" in page
    assert sum(one.tokens is not None for one in used) == 9
    for kind in KINDS:
        for method, its in reach(fine_tuned=kind).items():
            if its.speaks:
                assert f"{method} from {its.least:.3g} to {its.most:.3g}" in page


# ---- as a chart has it


@pytest.mark.parametrize(("method", "kind"), [("logit", True), ("attention", True), ("logit", False)])
def test_a_curve_is_the_fit_from_the_first_point_of_its_method_to_the_last(method, kind):
    line, points = curve(method, fine_tuned=kind), ratios(method, fine_tuned=kind)
    assert (line[0].compression, line[-1].compression) == pytest.approx((min(points), max(points)))
    assert all(one.compression < other.compression for one, other in pairwise(line))
    for one in line[1:-1]:
        figure = by_anchors(one.compression, method, fine_tuned=kind)
        assert (one.value, one.low, one.high) == pytest.approx((figure.value, figure.low, figure.high))


@pytest.mark.parametrize(("method", "kind"), [("feature", False), ("attention", False), ("progressive", True)])
def test_a_method_with_too_few_points_has_no_curve(method, kind):
    assert curve(method, fine_tuned=kind) == []
