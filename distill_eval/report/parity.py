"""What of a variant's loss is its engine's and what its quantization's, as text."""

from __future__ import annotations

from collections.abc import Mapping

from distill_eval.report import escape, numbers
from distill_eval.report.sections import plain_table
from distill_eval.schema.retention import EngineParity, Estimate, Retention

EXPLANATION = (
    "The unquantized weights ran on transformers and on the variant's engine: what differs between these two runs is "
    "the engine's, and its flips are the noise floor below which no flip says anything about quantization. "
    "The rest is the quantization's. +-: standard error."
)


def section(retention: Retention, labels: Mapping[str, str]) -> list[str]:
    """The section, or nothing where every student runs on transformers."""
    if not retention.parity:
        return []
    known = [one for one in retention.parity if one.task is not None]
    parts = ["## Engine or quantization"]
    if known:
        table = {
            "model": [escape.text(labels[one.student_ref]) for one in known],
            "engine": [escape.text(one.engine) for one in known],
            "task": [escape.text(one.task or "") for one in known],
            "metric": [escape.text(one.metric or "") for one in known],
            "documents": [numbers.count(one.num_docs) for one in known],
            "engine's part": [change(one.engine_part, one) for one in known],
            "quantization's part": [change(one.quantization_part, one) for one in known],
            "flips by the engine": [_count(one.num_engine_flips) for one in known],
            "flips by quantization": [_count(one.num_quantization_flips) for one in known],
            "same weights": [escape.text(one.unquantized_ref or "") for one in known],
        }
        parts += [EXPLANATION, plain_table(table, numeric=_NUMERIC)]
    lines = [
        f"- **{escape.text(labels[one.student_ref])}** on {escape.text(one.engine)}: parity unknown, "
        f"{escape.text(one.reason or '')}"
        for one in retention.parity
        if one.task is None
    ]
    return ["\n\n".join([*parts, *(["\n".join(lines)] if lines else [])])]


_NUMERIC = frozenset(
    {"documents", "engine's part", "quantization's part", "flips by the engine", "flips by quantization"}
)


def line(one: EngineParity, name: str) -> str:
    """The same for the terminal."""
    if one.task is None:
        return f"{name} on {one.engine}: parity unknown, {one.reason}"
    flips = "" if one.num_engine_flips is None else f"; {numbers.plural(one.num_engine_flips, 'flip')} by the engine"
    return (
        f"{name} on {one.engine}, {one.task}: {change(one.engine_part, one)} by the engine, "
        f"{change(one.quantization_part, one)} by quantization ({numbers.plural(one.num_docs, 'document')}{flips})"
    )


def change(part: Estimate, one: EngineParity) -> str:
    """A mean difference with its standard error: points of a 0/1 score, else the metric's own unit."""
    if part.value is None:
        return numbers.UNDEFINED
    scale, decimals, unit = (1, 3, "") if one.num_engine_flips is None else (100, 1, " points")
    error = "" if part.stderr is None else f" +- {numbers.fixed(scale * part.stderr, decimals)}"
    return f"{numbers.fixed(scale * part.value, decimals, sign=True)}{error}{unit}"


def _count(number: int | None) -> str:
    return numbers.UNDEFINED if number is None else numbers.count(number)
