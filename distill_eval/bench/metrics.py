"""Latencies and throughputs from raw timings, with the definitions of `vllm bench serve`: pure functions.

Its definitions stand in vllm/benchmarks/serve.py (`calculate_metrics`) and lib/endpoint_request_func.py; where ours
differ, docs/metrics.md ("Serving") says how.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from distill_eval.errors import UsageError, unknown
from distill_eval.schema.bench import Latency, LoadMetrics
from distill_eval.schema.timing import RequestTiming, Window

LIMITED = ("ttft", "tpot", "e2el")
"""What `--goodput` can limit."""
LATE_S = 0.001
"""A request sent later than so after its schedule counts as late."""


class Shape(NamedTuple):
    """The latencies of one completed request, in seconds."""

    ttft: float
    e2el: float
    itls: tuple[float, ...]
    num_output_tokens: int | None
    """By the server's usage, else by the tokenizer; `None`: neither counted."""
    tpot: float | None
    """`None`: fewer than two tokens, or nobody counted them."""

    def keeps(self, goodput: Mapping[str, float]) -> bool:
        """Whether no limit is exceeded; a request of one token has a TPOT of 0, one of unknown length keeps no TPOT."""
        if "tpot" in goodput and self.num_output_tokens is None:
            return False
        found = {"ttft": self.ttft, "tpot": self.tpot or 0.0, "e2el": self.e2el}
        return all(found[name] <= limit / 1e3 for name, limit in goodput.items())


def shape_of(timing: RequestTiming) -> Shape:
    """What is measured of a completed request; E2EL ends at the last chunk with an answer, as in vLLM."""
    first, last = timing.chunk_s[0], timing.chunk_s[-1]
    num = _num_output_tokens(timing)
    return Shape(
        ttft=first - timing.sent_s,
        e2el=last - timing.sent_s,
        itls=tuple(after - before for before, after in zip(timing.chunk_s, timing.chunk_s[1:], strict=False)),
        num_output_tokens=num,
        tpot=(last - first) / (num - 1) if num is not None and num > 1 else None,
    )


def metrics(
    timings: Sequence[RequestTiming], windows: Sequence[Window], *, goodput: Mapping[str, float]
) -> LoadMetrics:
    """All metrics of a load; of several windows the durations are summed and the distributions pooled.

    Args:
        timings: Of these windows; others are left out.
        windows: Of one load on one model.
        goodput: Limits in milliseconds, as `parse_goodput` gives them.

    Raises:
        ValueError: there is no window.
    """
    if not windows:
        raise ValueError("metrics of no window")
    numbers = {window.number for window in windows}
    rows = [timing for timing in timings if timing.window in numbers]
    completed = [timing for timing in rows if timing.status == "completed"]
    shapes = [shape_of(timing) for timing in completed]
    duration = sum(window.ended_s - window.began_s for window in windows)
    counts = [shape.num_output_tokens for shape in shapes]
    num_prompt, num_output = sum(map(_num_prompt_tokens, completed)), sum(num or 0 for num in counts)
    is_counted = bool(counts) and None not in counts
    waits = [timing.sent_s - timing.scheduled_s for timing in completed if timing.scheduled_s is not None]
    is_scheduled = len(waits) == len(completed)
    checked = [timing for timing in completed if None not in (timing.text_tokens, timing.usage_completion_tokens)]
    return LoadMetrics(
        num_completed=len(completed),
        num_errored=sum(timing.status == "errored" for timing in rows),
        num_cancelled=sum(timing.status == "cancelled" for timing in rows),
        num_late=_num_late(rows) if windows[0].load.kind == "open" else None,
        num_retried=sum(timing.num_tries > 1 for timing in rows),
        duration_s=duration,
        ttft_ms=latency(shape.ttft for shape in shapes),
        itl_ms=latency(gap for shape in shapes for gap in shape.itls),
        tpot_ms=latency(shape.tpot for shape in shapes if shape.tpot is not None),
        e2el_ms=latency(shape.e2el for shape in shapes),
        scheduled_ttft_ms=_scheduled([shape.ttft for shape in shapes], waits) if is_scheduled else None,
        scheduled_e2el_ms=_scheduled([shape.e2el for shape in shapes], waits) if is_scheduled else None,
        request_throughput=_rate(len(completed), duration),
        output_throughput=_rate(num_output, duration) if is_counted else None,
        total_throughput=_rate(num_prompt + num_output, duration) if is_counted else None,
        goodput=sum(shape.keeps(goodput) for shape in shapes) / duration if goodput and duration > 0 else None,
        peak_concurrency=max(_peak(rows, window.number) for window in windows),
        num_prompt_tokens=num_prompt,
        num_output_tokens=num_output,
        num_count_mismatches=_num_mismatches(checked) if checked else None,
        reasons=dict(Counter(timing.reason or timing.status for timing in rows if timing.status != "completed")),
    )


def parse_goodput(limits: Sequence[str]) -> dict[str, float]:
    """Limits in milliseconds by metric, from words such as `ttft:500`.

    Raises:
        UsageError: a word is no limit, names another metric, or comes twice.
    """
    found: dict[str, float] = {}
    for word in limits:
        name, colon, number = word.partition(":")
        if not colon:
            raise UsageError(f"--goodput {word}: expected a metric and milliseconds, e.g. ttft:500,tpot:50")
        if name not in LIMITED:
            unknown("--goodput metric", name, LIMITED)
        if name in found:
            raise UsageError(f"--goodput has {name} twice: expected one limit for each metric")
        found[name] = _positive(word, number)
    return found


def _positive(word: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UsageError(f"--goodput {word}: expected milliseconds above 0, e.g. ttft:500,tpot:50")
    return value


def _num_output_tokens(timing: RequestTiming) -> int | None:
    return timing.text_tokens if timing.usage_completion_tokens is None else timing.usage_completion_tokens


def _num_prompt_tokens(timing: RequestTiming) -> int:
    return timing.num_prompt_tokens if timing.usage_prompt_tokens is None else timing.usage_prompt_tokens


def _num_late(rows: Sequence[RequestTiming]) -> int | None:
    waits = [timing.sent_s - timing.scheduled_s for timing in rows if timing.scheduled_s is not None]
    return sum(wait > LATE_S for wait in waits) if waits else None


def _num_mismatches(checked: Sequence[RequestTiming]) -> int:
    return sum(timing.text_tokens != timing.usage_completion_tokens for timing in checked)


def latency(seconds: Iterable[float]) -> Latency | None:
    """In milliseconds, percentiles interpolated linearly as numpy and vLLM do."""
    values = np.fromiter(seconds, dtype=np.float64) * 1e3
    if not len(values):
        return None
    p50, p90, p95, p99 = (float(value) for value in np.percentile(values, (50, 90, 95, 99)))
    return Latency(num=len(values), mean=float(values.mean()), p50=p50, p90=p90, p95=p95, p99=p99)


def _scheduled(latencies: Sequence[float], waits: Sequence[float]) -> Latency | None:
    return latency(own + wait for own, wait in zip(latencies, waits, strict=True))


def _rate(num: int, duration: float) -> float | None:
    return num / duration if num and duration > 0 else None


def _peak(rows: Sequence[RequestTiming], window: int) -> int:
    """Most requests between their send and their end at one time; one that ends as another begins is not beside it."""
    own = [timing for timing in rows if timing.window == window]
    changes = sorted([(timing.sent_s, 1) for timing in own] + [(timing.ended_s, -1) for timing in own])
    return int(np.cumsum([change for _, change in changes]).max()) if changes else 0
