"""From timings to what a benchmark says of each model: pure functions, so that old timings give the same again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from distill_eval.bench.metrics import metrics
from distill_eval.bench.ratios import ratio
from distill_eval.schema.bench import LoadMetrics, LoadResult, NoiseFloor, Ratio
from distill_eval.schema.timing import Load, RequestTiming, Window

NO_COMMON_REPEAT = "no repeat was measured to its end with it and with the baseline"
ONE_TOKEN = "answers of one token have no time per token"
BUSY_LAG_MS = 10.0
"""99th percentile of the event loop's lateness above which client and server are not told apart."""
BUSY_CPU = 0.9


class Raw(NamedTuple):
    """What was measured, as it is kept."""

    windows: Sequence[Window]
    timings: Sequence[RequestTiming]

    def of(self, model: str, load: Load, *, again: bool = False) -> dict[int, Window]:
        """The measured windows of a model under a load, by repeat."""
        return {
            window.repeat: window
            for window in self.windows
            if window.phase == "measured" and (window.model, window.load, window.again) == (model, load, again)
        }


class Summary:
    """Metrics of windows, each computed once."""

    def __init__(self, raw: Raw, goodput: Mapping[str, float]) -> None:
        self._raw, self._goodput = raw, goodput
        self._timings: dict[int, list[RequestTiming]] = {}
        for timing in raw.timings:
            self._timings.setdefault(timing.window, []).append(timing)
        self._single: dict[int, LoadMetrics] = {}

    def pooled(self, windows: Sequence[Window]) -> LoadMetrics:
        """Of several windows of one load together; a window that was cut short counts requests, and tells no rate."""
        found, whole = self._metrics(windows), [window for window in windows if window.complete]
        if not whole or len(whole) == len(windows):
            return found
        rates = self._metrics(whole)
        return replace(
            found,
            duration_s=rates.duration_s,
            request_throughput=rates.request_throughput,
            output_throughput=rates.output_throughput,
            total_throughput=rates.total_throughput,
            goodput=rates.goodput,
        )

    def _metrics(self, windows: Sequence[Window]) -> LoadMetrics:
        found = [timing for window in windows for timing in self._timings.get(window.number, [])]
        return metrics(found, windows, goodput=self._goodput)

    def single(self, window: Window) -> LoadMetrics:
        """Of one window."""
        if window.number not in self._single:
            self._single[window.number] = self.pooled([window])
        return self._single[window.number]

    def results(self, model: str, baseline: str, loads: Sequence[Load]) -> tuple[LoadResult, ...]:
        """A model under each load under which it was measured."""
        found = []
        for load in loads:
            windows = self._raw.of(model, load)
            if not windows:
                continue
            pooled = self.pooled(list(windows.values()))
            if model == baseline:
                found.append(_result(load, pooled, {}, "it is the baseline"))
                continue
            pairs, reason = self._pairs(windows, self._raw.of(baseline, load))
            found.append(_result(load, pooled, pairs, reason))
        return tuple(found)

    def noise(self, baseline: str, loads: Sequence[Load]) -> tuple[NoiseFloor, ...]:
        """The baseline's second turn against its first, where both were measured."""
        found = []
        for load in loads:
            pairs, _ = self._pairs(self._raw.of(baseline, load, again=True), self._raw.of(baseline, load))
            measure = "tpot" if load.kind == "open" else "output_throughput"
            if measure in pairs:
                found.append(NoiseFloor(load=load, ratio=ratio(pairs[measure])))
        return tuple(found)

    def _pairs(
        self, ours: Mapping[int, Window], theirs: Mapping[int, Window]
    ) -> tuple[dict[str, list[float]], str | None]:
        """Ratios repeat by repeat, above 1 where ours is faster, by measure; why there are none."""
        common = sorted(ours.keys() & theirs.keys())
        whole = [repeat for repeat in common if ours[repeat].complete and theirs[repeat].complete]
        measured = [(self.single(ours[repeat]), self.single(theirs[repeat])) for repeat in whole]
        both = [(one, other) for one, other in measured if one.num_completed and other.num_completed]
        if not both:
            return {}, NO_COMMON_REPEAT
        found = {
            "output_throughput": [_over(one.output_throughput, other.output_throughput) for one, other in both],
            "tpot": [_over(_p50(other.tpot_ms), _p50(one.tpot_ms)) for one, other in both],
            "ttft": [_over(_p50(other.ttft_ms), _p50(one.ttft_ms)) for one, other in both],
        }
        known = {name: [pair for pair in pairs if pair] for name, pairs in found.items() if all(pairs)}
        return known, None if "tpot" in known else ONE_TOKEN


def _result(load: Load, pooled: LoadMetrics, pairs: Mapping[str, Sequence[float]], reason: str | None) -> LoadResult:
    def of(name: str) -> Ratio | None:
        return ratio(pairs[name]) if name in pairs else None

    return LoadResult(
        load=load,
        metrics=pooled,
        output_throughput_speedup=of("output_throughput"),
        tpot_speedup=of("tpot"),
        ttft_speedup=of("ttft"),
        unmeasured=reason,
    )


def _p50(latency: object) -> float | None:
    return getattr(latency, "p50", None)


def _over(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator and denominator else None


def findings(raw: Raw, results: Mapping[str, Sequence[LoadResult]], num_loads: int) -> list[str]:
    """What a reader has to know before the numbers, heaviest first."""
    found = []
    for model, those in results.items():
        for one in those:
            lost = one.metrics.num_errored + one.metrics.num_cancelled
            if lost:
                why = ", ".join(f"{reason}: {num}" for reason, num in one.metrics.reasons.items())
                sent = lost + one.metrics.num_completed
                found.append(f"{model} at {one.load.label}: {lost} of {sent} requests did not complete ({why})")
            if one.metrics.num_count_mismatches and not one.load.ignore_eos:  # special tokens have no text
                found.append(
                    f"{model} at {one.load.label}: the server's token counts are not its tokenizer's in "
                    f"{one.metrics.num_count_mismatches} of {one.metrics.num_completed} answers"
                )
            if one.metrics.num_late:
                found.append(f"{model} at {one.load.label}: {one.metrics.num_late} requests were sent late")
        if len(those) < num_loads:
            found.append(f"{model} was measured under {len(those)} of {num_loads} loads")
    return found + _client_findings(raw)


def _client_findings(raw: Raw) -> list[str]:
    busy = [
        window
        for window in raw.windows
        if window.phase == "measured"
        and ((window.loop_lag_ms or 0) > BUSY_LAG_MS or (window.client_cpu or 0) > BUSY_CPU)
    ]
    if not busy:
        return []
    worst = max(busy, key=lambda window: window.loop_lag_ms or 0)
    cpu = f" and took {worst.client_cpu:.0%} of a core" if worst.client_cpu is not None else ""
    text = (
        f"the client itself was busy in {len(busy)} measurements: at {worst.load.label} of {worst.model} its loop ran "
        f"{worst.loop_lag_ms or 0:.1f} ms late at p99{cpu}, so that latencies there are partly its own"
    )
    return [text]
