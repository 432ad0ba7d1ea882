"""Charts of the artifacts that have a list inside: latency by load, error by layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from distill_eval.report import numbers
from distill_eval.report.escape import clean
from distill_eval.report.html.charts import figure
from distill_eval.report.html.markup import Html, joined, tag
from distill_eval.report.html.tables import table
from distill_eval.report.lines import Line, LineChart, draw_lines
from distill_eval.report.svg import picture
from distill_eval.report.table import Cell, Column
from distill_eval.schema.bench import BenchRun, ClassifierResult, Latency, LoadResult
from distill_eval.schema.quant import LayerError, QuantRun

APART = 20.0
"""Latencies that are this many times apart are drawn on a logarithmic axis."""
MOST_LAYERS = 10
"""Of a quantized model, in the table of its largest errors."""

Measure = Callable[[LoadResult], Latency | None]
MEASURES: tuple[tuple[str, Measure], ...] = (
    ("Time to first token (TTFT)", lambda one: one.metrics.ttft_ms),
    ("Time per output token (TPOT)", lambda one: one.metrics.tpot_ms),
)


def latencies(run: BenchRun, names: Mapping[str, str]) -> Html:
    """TTFT and TPOT of every model by load; of classifiers the time of a batch by its size."""
    loads = list(dict.fromkeys(load.label for load in run.loads))
    charts = [_chart(title, "load", loads, _by_load(run, loads, measure, names)) for title, measure in MEASURES]
    batches = sorted({one.batch_size for model in run.models for one in model.classifier_results})
    sizes = [str(size) for size in batches]
    charts.append(_chart("Time of a batch", "texts in a batch", sizes, _by_size(run, batches, names)))
    repeats = numbers.plural(run.num_repeats, "repeat")
    caption = f"Points are medians (p50), whiskers go up to p99; {repeats}, all requests together."
    shown = [chart for chart in charts if chart is not None]
    return joined([figure(picture(chart.title, _told(chart), [draw_lines(chart)]), caption) for chart in shown])


Points = list[tuple[str, list[tuple[float, Latency]]]]
"""By model: (place among the loads, latency)."""


def _by_load(run: BenchRun, loads: Sequence[str], measure: Measure, names: Mapping[str, str]) -> Points:
    found = []
    for model in run.models:
        points = [(float(loads.index(one.load.label)), said) for one in model.results if (said := measure(one))]
        found.append((names.get(model.ref, model.name), points))
    return found


def _by_size(run: BenchRun, sizes: Sequence[int], names: Mapping[str, str]) -> Points:
    def place(one: ClassifierResult) -> float:
        return float(sizes.index(one.batch_size))

    return [
        (names.get(model.ref, model.name), [(place(one), one.batch_ms) for one in model.classifier_results])
        for model in run.models
    ]


def _chart(title: str, x_title: str, places: Sequence[str], points: Points) -> LineChart | None:
    lines = tuple(
        Line(
            clean(name),
            tuple((x, latency.p50) for x, latency in sorted(found, key=lambda pair: pair[0])),
            tuple(latency.p99 for _, latency in sorted(found, key=lambda pair: pair[0])),
        )
        for name, found in points
        if found
    )
    if not lines:
        return None
    values = [value for line in lines for value in (*(y for _, y in line.points), *line.highs)]
    log = min(values) > 0 and max(values) > APART * min(values)
    y_title = "milliseconds" + (", logarithmic" if log else "")
    return LineChart(title, y_title, x_title, lines, log=log, places=tuple(map(clean, places)))


def _told(chart: LineChart) -> str:
    told = [
        f"{line.name} at {chart.places[int(x)]}: p50 {numbers.fixed(y, 1)}, p99 {numbers.fixed(high, 1)}"
        for line in chart.lines
        for (x, y), high in zip(line.points, line.highs, strict=True)
    ]
    return f"In milliseconds: {'; '.join(told)}."


def layer_errors(quants: Mapping[str, QuantRun], models: Mapping[str, str], names: Mapping[str, str]) -> Html:
    """The largest error in each block of every quantized model, and a table of each one's worst layers.

    Args:
        quants: By the path of their artifact.
        models: Short name of each quantized model, by the same.
        names: Short name of each model, by its reference.
    """
    named = {clean(models[path]): quant for path, quant in quants.items()}
    lines = tuple(Line(name, points) for name, quant in named.items() if (points := _by_block(quant.layer_errors)))
    parts = []
    if lines:
        chart = LineChart(
            "Error of the quantized layers", "largest relative error in the block, 0 is none", "block", lines
        )
        told = " ".join(f"{line.name}: at most {numbers.fixed(max(y for _, y in line.points), 4)}." for line in lines)
        caption = "Norm of the change of a layer's output over the norm of the output, on held-out text; per block of "
        svg = picture("Largest relative error of a quantized layer, by block", told, [draw_lines(chart)])
        originals = dict.fromkeys(clean(names.get(str(quant.model), str(quant.model))) for quant in named.values())
        parts.append(figure(svg, f"{caption}{', '.join(originals)} the layer with the largest."))
    parts += [_worst(name, quant, number) for number, (name, quant) in enumerate(named.items())]
    return joined(parts)


def _by_block(errors: Sequence[LayerError]) -> tuple[tuple[float, float], ...]:
    found: dict[int, float] = {}
    for error in errors:
        block = re.search(r"\.(\d+)\.", error.layer)
        if block is not None and error.relative_error is not None:
            place = int(block.group(1))
            found[place] = max(found.get(place, 0.0), error.relative_error)
    return tuple((float(place), value) for place, value in sorted(found.items()))


def _worst(name: str, quant: QuantRun, number: int) -> Html:
    errors = quant.layer_errors[:MOST_LAYERS]
    shown = [numbers.optional(error.relative_error, lambda value: numbers.fixed(value, 4)) for error in errors]
    columns = [
        Column("layer", tuple(Cell(clean(error.layer)) for error in errors), numeric=False),
        Column("parameters", tuple(Cell(numbers.count(error.num_parameters)) for error in errors)),
        Column("relative error", tuple(map(Cell, shown))),
    ]
    of = f"{name} ({quant.scheme}): the {len(errors)} of {len(quant.layer_errors)} layers with the largest error"
    return tag("details", tag("summary", of), table(columns, of, prefix=f"layers{number}"))
