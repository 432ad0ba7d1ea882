"""Measures models in turn, and keeps what was measured after every turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from distill_eval.bench.entries import Entry
from distill_eval.bench.metrics import metrics
from distill_eval.bench.plan import MAX_WARMUP, Turn, is_steady, next_rate
from distill_eval.bench.pool import Pool
from distill_eval.bench.summary import Raw
from distill_eval.bench.target import Measured, Rules
from distill_eval.schema.bench import LoadMetrics, RateTried, Sweep
from distill_eval.schema.timing import Load, Phase, Prompt, RequestTiming, Window
from distill_eval.serving.energy import Meter, metered

Draw = Callable[[Load, str], Sequence[Prompt]]
"""The prompts of a load in a turn of this name, the same for every model; fresh in each, so that no cache helps."""
WARMUP = -1
"""The repeat of what warms up."""


class Ended(Exception):  # noqa: N818 - no error: the run ends with what it has
    """A model's server is gone, or Ctrl-C came; what was measured is kept."""

    def __init__(self, why: str, *, interrupted: bool = False) -> None:
        super().__init__(why)
        self.interrupted = interrupted


class SweepRule(NamedTuple):
    """What a sweep searches."""

    open_load: Callable[[float], Load]
    goodput: dict[str, float]
    share: float


class Energy(NamedTuple):
    """What a model's measured windows took together."""

    joules: float | None
    reason: str | None
    """Why it is `None`."""


NOT_MEASURED = Energy(None, "it was not measured")


class Session:
    """A benchmark as it goes: windows and timings so far."""

    def __init__(
        self,
        entries: Sequence[Entry],
        pool: Pool,
        draw: Draw,
        rules: Rules,
        *,
        seed: int,
        meter: Callable[[], Meter],
        keep: Callable[[Raw], None],
        say: Callable[[str], None],
    ) -> None:
        self._entries, self._pool, self._draw, self._rules = entries, pool, draw, rules
        self._seed, self._meter, self._keep, self._say = seed, meter, keep, say
        self._zero = time.perf_counter()
        self._warm: set[tuple[str, int, Load]] = set()
        self.windows: list[Window] = []
        self.timings: list[RequestTiming] = []
        self.energy: dict[str, Energy] = {}
        """By model."""
        self.sweeps: dict[str, Sweep] = {}

    @property
    def raw(self) -> Raw:
        """What was measured so far."""
        return Raw(self.windows, self.timings)

    def measure(self, turns: Iterable[Turn], loads: Sequence[Load]) -> None:
        """Take all turns.

        Raises:
            Ended: before all were taken.
            UsageError: a model cannot be put under such a load; see `LocalTarget`.
        """
        for turn in turns:
            entry, load = self._entries[turn.model], loads[turn.load]
            self._warm_up(entry, load)
            rate = self._window(entry, load, turn.repeat, "measured", again=turn.again).output_throughput
            said = "none completed" if rate is None else f"{rate:,.1f} output tok/s"
            again = ", again" if turn.again else ""
            self._say(f"repeat {turn.repeat + 1}, {load.label}: {entry.name}{again}: {said}")

    def sweep(self, entry: Entry, rule: SweepRule) -> None:
        """Search the highest request rate at which enough requests are good.

        One stream comes first: where even its requests are not good, no rate is, and else the search begins at the rate
        at which it went.
        """
        one_stream = Load(kind="closed", concurrency=1, ignore_eos=rule.open_load(1.0).ignore_eos)
        alone = self._try(entry, one_stream, rule)
        if alone.good_share < rule.share:
            self.sweeps[entry.name] = _swept([alone], rule.share)
            return
        tried, rate = list[RateTried](), next_rate([], [], start=alone.request_rate)
        while rate is not None:
            tried.append(self._try(entry, rule.open_load(rate), rule))
            self.sweeps[entry.name] = _swept(tried, rule.share)
            rate = next_rate(*_sides(tried, rule.share), start=alone.request_rate)

    def _try(self, entry: Entry, load: Load, rule: SweepRule) -> RateTried:
        self._warm_up(entry, load)
        found = self._window(entry, load, 0, "sweep", goodput=rule.goodput)
        sent = found.num_completed + found.num_errored + found.num_cancelled
        share = (found.goodput or 0.0) * found.duration_s / sent if sent else 0.0
        self._say(f"sweep, {load.label}: {entry.name}: {share:.1%} good")
        rate = load.request_rate or sent / found.duration_s
        return RateTried(request_rate=rate, good_share=share, output_throughput=found.output_throughput)

    def _warm_up(self, entry: Entry, load: Load) -> None:
        """Repeat the load until two windows in a row are alike: compilation, caches and frequencies have settled."""
        self._pool.get(entry)
        key = (entry.name, self._pool.num_starts[entry.name], load)
        if key in self._warm:
            return
        rates: list[float] = []
        streams = load.concurrency or 1
        while len(rates) < MAX_WARMUP and not is_steady(rates):
            found = self._window(entry, load, WARMUP - len(rates), "warmup", at_most=max(2, 2 * streams))
            if not found.num_completed:
                reason = next(iter(found.reasons), None)
                raise Ended(f"{entry.name} at {load.label}: no request of the warm-up completed ({reason})")
            rates.append(found.output_throughput or 0.0)
        if not is_steady(rates):
            self._say(f"{entry.name} at {load.label} is not steady after {len(rates)} windows of warm-up")
        self._warm.add(key)

    def _window(
        self,
        entry: Entry,
        load: Load,
        repeat: int,
        phase: Phase,
        *,
        again: bool = False,
        at_most: int | None = None,
        goodput: Mapping[str, float] = {},
    ) -> LoadMetrics:
        running = self._pool.get(entry)
        number = len(self.windows)
        prompts = self._draw(load, turn_name(phase, repeat, again=again))[:at_most]
        seed = self._seed + MAX_WARMUP + repeat
        with metered(self._meter()) as meter:
            done = running.target.measure(load, prompts, self._rules, window=number, zero=self._zero, seed=seed)
        if phase == "measured" and not again:
            self._add_energy(entry.name, meter)
        window = Window(
            number=number,
            model=entry.name,
            engine=entry.runner,
            load=load,
            repeat=repeat,
            phase=phase,
            again=again,
            began_s=done.began_s,
            ended_s=done.ended_s,
            complete=not (done.interrupted or done.lost),
            loop_lag_ms=done.loop_lag_ms,
            client_cpu=done.client_cpu,
        )
        self.windows.append(window)
        self.timings.extend(done.timings)
        self._keep(self.raw)
        _check_ended(entry, load, done, running.last_words)
        return metrics(done.timings, [window], goodput=goodput)

    def _add_energy(self, name: str, meter: Meter) -> None:
        before = self.energy.get(name, Energy(0.0, None)).joules
        known = None if before is None or meter.joules is None else before + meter.joules
        self.energy[name] = Energy(known, meter.reason)


def _sides(tried: Sequence[RateTried], share: float) -> tuple[list[float], list[float]]:
    """Rates that held, and those that failed."""
    held = [one.request_rate for one in tried if one.good_share >= share]
    return held, [one.request_rate for one in tried if one.good_share < share]


def _swept(tried: Sequence[RateTried], share: float) -> Sweep:
    """What the rates so far tell: the highest that held below all that failed."""
    held, failed = _sides(tried, share)
    best = max((rate for rate in held if not failed or rate < min(failed)), default=None)
    above = [rate for rate in failed if best is None or rate > best]
    return Sweep(
        wanted_share=share,
        highest_rate=best,
        lowest_failed=min(above, default=None),
        tried=tuple(sorted(tried, key=lambda one: one.request_rate)),
    )


def turn_name(phase: Phase, repeat: int, *, again: bool = False) -> str:
    """What the prompts of a turn are drawn for."""
    return f"{phase} {repeat}{' again' if again else ''}"


def _check_ended(entry: Entry, load: Load, done: Measured, last_words: Callable[[], str]) -> None:
    if done.interrupted:
        raise Ended("interrupted", interrupted=True)
    if done.lost:
        said = last_words()
        raise Ended(
            f"{entry.name} at {load.label}: the server is gone" + (f'. Its last lines: "{said}"' if said else "")
        )
