"""A plan on one screen of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill_eval.report.escape import clean
from distill_eval.report.numbers import UNDEFINED
from distill_eval.report.plan import TRAINING, expectation
from distill_eval.report.plan_values import count, duration, shown, size, spread, value_of
from distill_eval.report.terminal import PLAIN_WIDTH
from distill_eval.schema.plan import Figure, ModelSizes, Plan

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_SHOWN = ("training.tokens", "training.peak_bytes", "training.seconds", "training.cost_usd", "training.checkpoint_bytes")
"""Figures of the training that have room here; all of them are in plan.md."""


def print_plan(plan: Plan, console: Console) -> None:
    """Print what to expect, the sizes and what training, evaluation and serving take."""
    width = console.width if console.is_terminal else PLAIN_WIDTH
    console.print(clean(expectation(plan)), style="bold", markup=False, highlight=False, width=width)
    for table in (_models(plan), _figures(plan)):
        console.print(table, width=width)
    for finding in plan.findings:
        if finding.weight == "high":
            console.print(f"{finding.weight}: {clean(finding.text)}", markup=False, highlight=False, width=width)


def _models(plan: Plan) -> Table:
    table = _table("model", "parameters", "smaller", "bf16", "int8", "int4", "KV per token")
    rows = [(plan.teacher, ""), *((one.sizes, f"{one.compression:.3g}x") for one in plan.students)]
    for sizes, smaller in rows:
        weights = [_weight(sizes, dtype) for dtype in ("bf16", "int8", "int4")]
        cache = UNDEFINED if sizes.kv_cache is None else size(sizes.kv_cache.num_bytes(1))
        table.add_row(clean(sizes.name), count(sizes.parts.total), smaller, *weights, cache)
    return table


def _weight(sizes: ModelSizes, dtype: str) -> str:
    found = sizes.weight_bytes.get(dtype)
    return UNDEFINED if found is None else size(found)


def _figures(plan: Plan) -> Table:
    table = _table("of the first student", "figure", "spread", "basis")
    table.columns[3].justify = "left"
    kept = plan.retained
    named = [("kept, by published students", kept.fit), ("kept, by your own runs", kept.own)]
    named += [("kept, by a planner's rule", kept.rule)]
    training = {figure.name: figure for figure in plan.training}
    named += [
        (TRAINING[name.removeprefix("training.")], training[name])
        for name in _SHOWN
        if name in training and training[name].value is not None
    ]
    for name, figure in named:
        table.add_row(name, shown(figure), spread(figure), _basis(figure))
    for task in plan.evaluation:
        drop = UNDEFINED if task.detectable_drop is None else f"finds a drop of {value_of(task.detectable_drop, 'share')}"
        tell = f"; --limit {task.limit_to_detect} for --detect" if task.limit_to_detect is not None else ""
        time = UNDEFINED if task.seconds.value is None else duration(task.seconds.value)
        table.add_row(f"{clean(task.task)}: {task.num_docs:,} documents", time, drop, f"estimate{tell}")
    for one in plan.serving:
        name = f"{clean(one.model)} {one.dtype}, {one.num_requests} at once"
        table.add_row(name, f"{shown(one.ttft_ms)} TTFT", f"{shown(one.tpot_ms)} TPOT", "estimate: roofline")
    return table


def _basis(figure: Figure) -> str:
    return figure.basis if figure.value is not None else "plan.md says why"


def _table(first: str, *rest: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in rest:
        table.add_column(name, justify="right")
    return table
