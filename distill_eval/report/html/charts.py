"""The charts of a page: each a figure, or nothing where what it shows was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distill_eval.report import numbers, training
from distill_eval.report.axes import Axis, linear, logarithmic
from distill_eval.report.escape import clean
from distill_eval.report.frontier import speed_at
from distill_eval.report.html.markup import Html, joined, tag
from distill_eval.report.ranges import RangeChart, Row, Tick, draw_ranges
from distill_eval.report.sections import short_names
from distill_eval.report.spots import Spot, SpotChart, draw_spots
from distill_eval.report.svg import picture
from distill_eval.report.verdict import asked
from distill_eval.schema.distill import DistillRun
from distill_eval.schema.fidelity import Fidelity
from distill_eval.schema.gate import KEPT, RuleResult
from distill_eval.schema.report import Report, Speed, Variant
from distill_eval.schema.retention import Criterion, Entry, Estimate, Retention, StudentVerdict

OPEN = 4
"""Forest plots that stand open beside that of the student to ship."""
LEAST_KL = 1e-6
"""Nats at which the logarithmic axis begins at the latest: what is less is the noise of float32."""


def figure(svg: str, caption: str) -> Html:
    """A picture with what it shows."""
    box = tag("div", Html(svg), class_="scroll", role="region", aria_label="Chart", tabindex="0")
    return tag("figure", box, tag("figcaption", caption))


def tradeoff(report: Report) -> Html:
    """Retention against speedup, size as area; the teacher at (1, 1)."""
    found = [(variant, speed) for variant in report.variants if (speed := speed_at(variant, report.load)) is not None]
    spots = [spot for variant, speed in found if (spot := _spot(variant, speed)) is not None]
    if len(spots) < 2:
        return Html()
    drawn = {spot.name for spot in spots}
    left = [variant.name for variant in report.variants if variant.name not in drawn]
    chart = SpotChart(
        "Retention against speedup",
        "mean retention over tasks, %",
        f"output throughput over the teacher's, {report.load}",
        tuple(spots),
        "on the frontier of size, speed and retention",
        "not on it, or not known",
        "frontier of speed and retention alone",
    )
    told = ". ".join(f"{spot.name}: {spot.told}" for spot in spots)
    caption = "The area of a spot is the size of its weights; whiskers are intervals. Up and right is better."
    if left:
        caption += f" Without retention or speedup, and so not drawn: {', '.join(map(clean, left))}."
    return figure(picture("Retention against speedup", told, [draw_spots(chart)]), caption)


def _spot(variant: Variant, speed: Speed) -> Spot | None:
    if variant.role == "teacher":
        told = "the teacher, 1 by definition"
        return Spot(clean(variant.name), told, 1.0, 100.0, size=1.0, hollow=not variant.on_frontier)
    kept, ratio = variant.retention, speed.speedup
    if kept.value is None or ratio is None:
        return None
    told = f"retention {_percent(kept)}, speedup {numbers.fixed(ratio.value, 2)}x"
    if variant.size_ratio is not None:
        told += f", {numbers.fixed(variant.size_ratio, 2)}x the size"
    return Spot(
        clean(variant.name),
        told,
        ratio.value,
        100 * kept.value,
        None if ratio.ci_low is None or ratio.ci_high is None else (ratio.ci_low, ratio.ci_high),
        None if kept.ci_low is None or kept.ci_high is None else (100 * kept.ci_low, 100 * kept.ci_high),
        variant.size_ratio,
        hollow=not variant.on_frontier,
    )


def _percent(estimate: Estimate) -> str:
    """E.g. `97.1 % [95.9, 98.3]`."""
    shown = numbers.optional(estimate.value, numbers.percent)
    if estimate.ci_low is None and estimate.ci_high is None:
        return shown
    return f"{shown} {numbers.RATIO.interval(estimate.ci_low, estimate.ci_high)}"


def forests(retention: Retention, names: Mapping[str, str], report: Report) -> Html:
    """Each student's retention task by task, with what it is held to, on one axis for all."""
    shown = {
        decision.student_ref: names.get(decision.student_ref, decision.student_ref) for decision in retention.verdicts
    }
    rows = {
        ref: _forest_rows(retention, ref, [result for result in report.gate if result.student == name])
        for ref, name in shown.items()
    }
    every = [row for some in rows.values() for row in some]
    values = [value for row in every for value in (row.value, row.low, row.high, row.level) if value is not None]
    if all(row.value is None for row in every):
        return Html()
    axis = _within([100.0, *values])
    parts = []
    for place, decision in enumerate(retention.verdicts):
        name = clean(shown[decision.student_ref])
        chart = RangeChart(
            f"What {name} keeps of each task",
            f"task; retention in % with its {numbers.round_percent(retention.criterion.level)} interval",
            "student over teacher, %",
            rows[decision.student_ref],
            axis,
            f"least that passes: {clean(asked(retention, report))}",
        )
        told = ". ".join(f"{row.name}: {row.told}" for row in chart.rows)
        opened = name == report.ship or place < OPEN
        svg = picture(chart.title, told, [draw_ranges(chart)])
        parts.append(
            _folded(_kept(name, decision), figure(svg, _caption(retention, decision.student_ref)), opened=opened)
        )
    return joined(parts)


def _within(values: Sequence[float]) -> Axis:
    """An axis that ends a little beyond the values, with ticks between."""
    low, high = min(values), max(values)
    beyond = max(0.5, (high - low) / 30)
    ticks = (tick for tick in linear(values).ticks if low - beyond <= tick <= high + beyond)
    return Axis(low - beyond, high + beyond, tuple(ticks))


def _kept(name: str, decision: StudentVerdict) -> str:
    mean = numbers.optional(decision.mean_retention, numbers.percent)
    return f"{name}: {decision.verdict}, mean retention {mean}"


def _caption(retention: Retention, student_ref: str) -> str:
    lower = [clean(e.task) for e in _primary(retention, student_ref) if not e.higher_is_better]
    return "100 % is kept in full." + (
        f" Teacher over student, since lower is better: {', '.join(lower)}." * bool(lower)
    )


def _folded(summary: str, content: Html, *, opened: bool) -> Html:
    return tag("details", tag("summary", summary), content, open=opened, class_="printed")


def _primary(retention: Retention, student_ref: str) -> list[Entry]:
    return [entry for entry in retention.entries if entry.primary and entry.student_ref == student_ref]


def _forest_rows(retention: Retention, student_ref: str, gate: Sequence[RuleResult]) -> tuple[Row, ...]:
    return tuple(
        Row(
            clean(entry.task),
            _percent(entry.retention).replace(" %", ""),
            _times_100(entry.retention.value),
            _times_100(entry.retention.ci_low),
            _times_100(entry.retention.ci_high),
            level=_times_100(_level(retention.criterion, entry, gate)),
        )
        for entry in _primary(retention, student_ref)
    )


def _times_100(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _level(criterion: Criterion, entry: Entry, gate: Sequence[RuleResult]) -> float | None:
    """The retention that just meets what a task is held to: its student's rules in the gate, or else the criterion."""
    rules = [result.rule for result in gate if result.where == entry.task and result.rule.name in KEPT]
    least = [rule.bound for rule in rules if rule.name == "min-retention"]
    margins = [rule.bound for rule in rules if rule.name == "margin"]
    if not rules:
        least = [] if criterion.min_retention is None else [criterion.min_retention]
        margins = [] if criterion.margin is None else [criterion.margin]
    met = (_at_margin(margin, entry) for margin in margins)
    return max([*least, *(level for level in met if level is not None)], default=None)


def _at_margin(margin: float, entry: Entry) -> float | None:
    """A margin as a retention, with the teacher's score."""
    teacher = entry.teacher.value
    if not teacher:
        return None
    return (teacher - margin) / teacher if entry.higher_is_better else teacher / (teacher + margin)


def divergences(fidelity: Fidelity, names: Mapping[str, str]) -> Html:
    """How far each candidate's distributions are from the reference's: not the mean alone."""
    measured = [(one, one.tokens.kl) for one in fidelity.candidates if one.tokens is not None]
    values = [value for _, kl in measured for value in (kl.mean.value, kl.median, kl.p90, kl.p99, kl.maximum)]
    positive = [value for value in values if value > 0]
    if not positive:
        return Html()
    shorts = short_names([one.model.ref for one, _ in measured])
    rows = tuple(
        Row(
            clean(names.get(one.model.ref, shorts[one.model.ref])),
            numbers.fixed(kl.mean.value, 4),
            kl.mean.value,
            kl.median,
            kl.maximum,
            tuple(
                Tick(f"{name}: {numbers.fixed(value, 4)}", value)
                for name, value in (("median", kl.median), ("p90", kl.p90), ("p99", kl.p99), ("largest", kl.maximum))
            ),
        )
        for one, kl in measured
    )
    axis = logarithmic([max(LEAST_KL, value) for value in positive], most=4)
    chart = RangeChart("KL(reference || candidate) per token", "model; mean", "nats per token, logarithmic", rows, axis)
    told = ". ".join(f"{row.name}: mean {row.told}, {', '.join(tick.name for tick in row.ticks)}" for row in rows)
    reference = clean(names.get(fidelity.reference.ref, fidelity.reference.ref))
    caption = (
        f"Against {reference}. The dot is the mean; the line goes from the median to the largest, with strokes at the "
        f"median, p90, p99 and the largest of {numbers.count(fidelity.num_scored)} positions."
    )
    return figure(picture(chart.title, told, [draw_ranges(chart)]), caption)


def curves(trainings: Mapping[str, DistillRun]) -> Html:
    """The training runs' loss and validation."""
    if not trainings:
        return Html()
    runs = {clean(name): run for name, run in trainings.items()}
    return figure(
        training.draw(runs), "Validation of every run; the parts of the training loss are those of the first."
    )
