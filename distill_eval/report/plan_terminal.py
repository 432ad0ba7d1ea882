"""A plan on one screen of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_eval.report.escape import clean
from distill_eval.report.numbers import UNDEFINED
from distill_eval.report.plan import TRAINING, expectation, made
from distill_eval.report.plan_values import count, shown, size, spread, value_of
from distill_eval.report.terminal import PLAIN_WIDTH, plain
from distill_eval.schema.plan import Figure, ModelSizes, Plan

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_TRAINING = ("tokens", "peak_bytes", "seconds", "cost_usd", "checkpoint_bytes")
"""Figures of the training that have room here; all of them are in plan.md."""


def print_plan(plan: Plan, console: Console) -> None:
    """Print what to expect, the sizes, and what training, evaluation and serving take."""
    from rich.text import Text

    parts: list[RenderableType] = [Text(clean(expectation(plan)), style="bold"), "", _models(plan), "", _figures(plan)]
    parts += ["", _tasks(plan)] if plan.evaluation or plan.missing_tasks else []
    parts += ["", _serving(plan)] if plan.serving else []
    heavy = [finding for finding in plan.findings if finding.weight == "high"]
    parts += ["", *(Text(f"{one.weight}: {clean(one.text)}") for one in heavy)] if heavy else []
    if console.is_terminal:
        console.print(*parts, sep="\n")
    else:
        console.print(plain(parts, PLAIN_WIDTH), soft_wrap=True, markup=False, highlight=False, emoji=False)


def _models(plan: Plan) -> Table:
    table = _table("model", "parameters", "smaller", "bf16", "int8", "int4", "KV cache/token")
    rows = [(f"teacher {plan.teacher.name}", plan.teacher, "")]
    rows += [(one.sizes.name, one.sizes, f"{one.compression:.3g}x") for one in made(plan)]
    for name, sizes, smaller in rows:
        weights = [_weight(sizes, dtype) for dtype in ("bf16", "int8", "int4")]
        cache = UNDEFINED if sizes.kv_cache is None else size(sizes.kv_cache.num_bytes(1))
        table.add_row(clean(name), count(sizes.parts.total), smaller, *weights, cache)
    return table


def _weight(sizes: ModelSizes, dtype: str) -> str:
    found = sizes.weight_bytes.get(dtype)
    return UNDEFINED if found is None else size(found)


def _figures(plan: Plan) -> Table:
    """What is expected of the first student, and what its training takes."""
    table = _table("first student", "figure", "80 % interval or spread", "basis")
    kept, training = plan.retained, {figure.name: figure for figure in plan.training}
    named = [("kept, by published students", kept.fit), ("kept, by your own runs", kept.own)]
    named += [("kept, by a planner's rule", kept.rule)]
    named += [(TRAINING[name], training[f"training.{name}"]) for name in _TRAINING if f"training.{name}" in training]
    for name, figure in named:
        table.add_row(name, shown(figure), spread(figure), _basis(figure))
    return table


def _basis(figure: Figure) -> str:
    if figure.value is None and figure.low is not None:
        return f"{figure.basis}, a lower end"
    return figure.basis if figure.value is not None else "none: plan.md says why"


def _tasks(plan: Plan) -> Table:
    detect = any(one.limit_to_detect for one in plan.evaluation)
    table = _table("task", "documents", "tokens", "time of both", "finds a drop of", *(["--limit"] if detect else []))
    for one in plan.evaluation:
        drop = UNDEFINED if one.detectable_drop is None else value_of(one.detectable_drop, "share")
        limit = UNDEFINED if one.limit_to_detect is None else f"{one.limit_to_detect:,}"
        row = [clean(one.task), f"{one.num_docs:,}", shown(one.num_tokens), shown(one.seconds), drop]
        table.add_row(*row, *([limit] if detect else []))
    for gone in plan.missing_tasks:
        table.add_row(clean(gone.task), *[UNDEFINED] * (len(table.columns) - 1))
    return table


def _serving(plan: Plan) -> Table:
    """Teacher and student in bfloat16."""
    table = _table("serving (roofline)", "at once", "TTFT", "TPOT", "throughput", "that fit")
    for one in plan.serving:
        if one.dtype == "bf16":
            name = "teacher" if one.model == plan.teacher.name else "first student"
            fit = UNDEFINED if one.max_requests is None else f"{one.max_requests:,}"
            figures = [shown(figure) for figure in (one.ttft_ms, one.tpot_ms, one.throughput)]
            table.add_row(f"{name}, bf16", f"{one.num_requests:,}", *figures, fit)
    return table


def _table(first: str, *rest: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in rest:
        table.add_column(name, justify="right")
    return table
