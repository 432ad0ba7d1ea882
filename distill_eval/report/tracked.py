"""A report as one flat table of numbers, for the trackers that people keep their runs in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from distill_eval.schema.report import Report, Variant
from distill_eval.schema.retention import Estimate

ESTIMATES = ("retention", "worst_retention", "retention_above_chance", "gap_recovered", "kl", "top1_agreement")
COUNTS = ("num_parameters", "size_bytes", "size_ratio", "peak_bytes")
LATENCIES = (
    "ttft_p50_ms",
    "ttft_p99_ms",
    "tpot_p50_ms",
    "tpot_p99_ms",
    "output_throughput",
    "latency_p50_ms",
    "latency_p95_ms",
)
_NOT_IN_A_KEY = re.compile(r"[^A-Za-z0-9_.-]+")
"""MLflow's keys may hold letters, digits, underscores, dots, dashes, spaces, colons and slashes, the others' more."""


def numbers(report: Report) -> dict[str, float]:
    """Every number of every variant, as `variant/field` or `variant/load/field`, in the order of the report.

    Fields are named as in report.json, the ends of an interval `retention_ci_low` and `retention_ci_high`. What was
    not measured has no key.
    """
    return {
        "/".join(_word(part) for part in (variant.name, *path)): float(value)
        for variant in report.variants
        for path, value in _of(variant)
        if value is not None
    }


def _of(variant: Variant) -> Iterator[tuple[tuple[str, ...], float | None]]:
    for name in COUNTS:
        yield (name,), getattr(variant, name)
    for name in ESTIMATES:
        found: Estimate = getattr(variant, name)
        yield (name,), found.value
        yield (f"{name}_ci_low",), found.ci_low
        yield (f"{name}_ci_high",), found.ci_high
    for one in variant.speeds:
        for name in LATENCIES:
            yield (one.load, name), getattr(one, name)
        if one.speedup is not None:
            yield (one.load, "speedup"), one.speedup.value
            yield (one.load, "speedup_ci_low"), one.speedup.ci_low
            yield (one.load, "speedup_ci_high"), one.speedup.ci_high


def labels(report: Report) -> dict[str, str]:
    """What is said of the report in words: teacher, what to ship, and each variant's verdict."""
    said = {"teacher": report.variants[0].ref, "ship": report.ship or "none", "verdict": report.verdict}
    judged = {f"{_word(one.name)}/verdict": one.verdict for one in report.variants if one.verdict is not None}
    return said | judged


def _word(text: str) -> str:
    return _NOT_IN_A_KEY.sub("_", text)
