"""What published distillations lead to expect: a fit over them, no further than they reach, and how far off it is."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

from distill_eval.plan.anchors import anchors
from distill_eval.plan.fit import LEVEL, Fit, ordinary, predicted
from distill_eval.record import digits, record
from distill_eval.schema.plan import Anchor, Figure, Method

TELLABLE = 0.005
"""A loss below half a percent is taken as that: the logarithm of 0 is none, and published scores have three digits."""
TERMS = ("1", "[prompted]", "log2 r", "[prompted] log2 r", "[attention]", "[feature]")
"""Of the fit, in the order of `terms`; docs/anchors.md has what else was tried."""
FEWEST = 3
"""Anchors of one kind by one method: with any of them left out there are two, which still span a range of their own."""
LEVELS = (LEVEL, 0.95)
"""Of the intervals in which anchors that the fit has not seen are counted."""


def whose(*, fine_tuned: bool) -> str:
    """What the anchors of a kind are of, for people."""
    return "fine-tuned encoders" if fine_tuned else "prompted language models"


# ---- the fit


def terms(compression: float, *, fine_tuned: bool, method: Method) -> tuple[float, ...]:
    """What the fit multiplies with its coefficients, in the order of `TERMS`."""
    prompted, halvings = float(not fine_tuned), math.log2(compression)
    return 1.0, prompted, halvings, prompted * halvings, float(method == "attention"), float(method == "feature")


def loss_log(retention: float) -> float:
    """What the fit is of: the logarithm of the share that is lost."""
    return math.log(max(1.0 - retention, TELLABLE))


def used_anchors() -> tuple[Anchor, ...]:
    """Those that the fit is over."""
    return tuple(one for one in anchors() if one.left_out is None)


@cache
def anchors_fit() -> Fit:
    """The fit over all anchors that are not left out."""
    used = used_anchors()
    rows = [terms(one.compression, fine_tuned=one.fine_tuned, method=one.method) for one in used]
    return ordinary(rows, [loss_log(one.retention) for one in used])


def fit_retention(compression: float, method: Method, fit: Fit, *, fine_tuned: bool) -> tuple[float, float, float]:
    """Retention by the fit, and the ends of its prediction interval; a share that cannot be below 0."""
    value, half = predicted(terms(compression, fine_tuned=fine_tuned, method=method), fit)
    return _kept(value), _kept(value + half), _kept(value - half)


def _kept(log_loss: float) -> float:
    return max(0.0, 1.0 - math.exp(log_loss))


def fit_text() -> str:
    """The fit in one sentence, for people."""
    fit = anchors_fit()
    pairs = zip(fit.coefficients, TERMS, strict=True)
    line = " ".join(f"{value:+.2f}" + ("" if term == "1" else f" {term}") for value, term in pairs)
    return (
        f"ln(1 - retention) = {line}; {fit.num_points} published anchors, residual standard deviation "
        f"{math.sqrt(fit.variance):.2f}; left out one at a time, {unseen_text(fine_tuned=True)}; "
        f"{unseen_text(fine_tuned=False)}"
    )


# ---- how far off it is


def fit_errors(fit: Fit) -> tuple[float, ...]:
    """Of each anchor: retention as the fit without it has it, less what was published."""
    pairs = zip(fit.left_out, used_anchors(), strict=True)
    return tuple(_kept(left_out) - one.retention for left_out, one in pairs)


class Unseen(NamedTuple):
    """The anchors of one kind, each predicted by the fit without it."""

    num_anchors: int
    off: float
    """Root mean square of predicted less published retention."""
    num_inside: tuple[int, ...]
    """Of the anchors: those inside their own prediction interval, at each of `LEVELS`."""


@cache
def unseen(*, fine_tuned: bool) -> Unseen:
    """How far off the fit is for one kind: the kinds differ by more than what it is off for all of them together."""
    fit = anchors_fit()
    rows = zip(used_anchors(), fit_errors(fit), fit.held_at, strict=True)
    mine = [(error, level) for one, error, level in rows if one.fine_tuned == fine_tuned]
    return Unseen(
        num_anchors=len(mine),
        off=math.sqrt(sum(error**2 for error, _ in mine) / len(mine)),
        num_inside=tuple(sum(level <= limit for _, level in mine) for limit in LEVELS),
    )


def unseen_text(*, fine_tuned: bool) -> str:
    """The same for people, to stand after "left out one at a time"."""
    found = unseen(fine_tuned=fine_tuned)
    inside = " and ".join(
        f"{number} inside their own {100 * level:.0f} % interval"
        for level, number in zip(LEVELS, found.num_inside, strict=True)
    )
    whom = f"{found.num_anchors} {whose(fine_tuned=fine_tuned)}"
    return f"{whom} are {found.off:.3f} off (root mean square of retention), {inside}"


# ---- where it has a value


@record
class Reach:
    """Where the fit has points of one kind by one method."""

    num_points: int
    least: float
    """Of the compression."""
    most: float

    @property
    def speaks(self) -> bool:
        """Whether there are enough of them."""
        return self.num_points >= FEWEST

    def holds(self, compression: float) -> bool:
        """Whether the fit says something of such a student."""
        return self.speaks and self.least <= compression <= self.most


def reach(*, fine_tuned: bool) -> dict[Method, Reach]:
    """By method, of the anchors of one kind: a method's factor is known where its own points are, and nowhere else."""
    ratios: dict[Method, list[float]] = {}
    for one in used_anchors():
        if one.fine_tuned == fine_tuned:
            ratios.setdefault(one.method, []).append(one.compression)
    return {name: Reach(num_points=len(its), least=min(its), most=max(its)) for name, its in sorted(ratios.items())}


def by_anchors(compression: float, method: Method, *, fine_tuned: bool) -> Figure:
    """What the fit says of one student; no value, and why, where it has no points."""
    why_not = _beyond(compression, method, fine_tuned=fine_tuned)
    value = low = high = None
    if why_not is None:
        value, low, high = map(digits, fit_retention(compression, method, anchors_fit(), fine_tuned=fine_tuned))
    source = why_not or _source(method, fine_tuned=fine_tuned)
    return Figure(name="retained.fit", value=value, low=low, high=high, unit="share", basis="estimate", source=source)


def _source(method: Method, *, fine_tuned: bool) -> str:
    num_points = reach(fine_tuned=fine_tuned)[method].num_points
    return (
        f"least squares over {anchors_fit().num_points} published anchors, {num_points} of them of "
        f"{whose(fine_tuned=fine_tuned)} by {method}, with the {100 * LEVEL:.0f} % prediction interval of one more; "
        f"left out one at a time, {unseen_text(fine_tuned=fine_tuned)}; a literature that reports what went well"
    )


def _beyond(compression: float, method: Method, *, fine_tuned: bool) -> str | None:
    """Why the anchors say nothing of such a student; `None` where they do."""
    known = reach(fine_tuned=fine_tuned)
    mine = known.get(method)
    if mine is not None and mine.holds(compression):
        return None
    others = [
        f"--method {name} ({its.num_points} from {its.least:.4g} to {its.most:.4g} times) shows what those kept"
        for name, its in known.items()
        if its.holds(compression)
    ]
    elsewhere = "; ".join(others) or f"at {compression:.4g} times there are not enough by any other method either"
    return f"{_missing(compression, method, mine, whose(fine_tuned=fine_tuned))}; {elsewhere}"


def _missing(compression: float, method: Method, mine: Reach | None, whom: str) -> str:
    """Which anchors of the method there are, and what is missing."""
    if mine is None:
        return f"no published anchor of {whom} by the method {method} that the fit may use"
    ends = f"from {mine.least:.4g} to {mine.most:.4g} times" if mine.num_points > 1 else f"at {mine.least:.4g} times"
    if not mine.speaks:
        few = "one published anchor" if mine.num_points == 1 else f"{mine.num_points} published anchors"
        return f"{few} of {whom} by the method {method} ({ends}), and the fit needs {FEWEST} of its kind and method"
    return (
        f"the {mine.num_points} published anchors of {whom} by the method {method} reach {ends}; {compression:.4g} "
        "times is outside, and the fit is not drawn longer than its points"
    )
