"""Axes of a chart: where the ticks are, how they are written, and how far along a value lies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
"""Distances between ticks, times a power of ten."""
EXTREME = 1e250
"""What lies beyond this on a logarithmic axis is drawn at its end: ticks stay numbers."""


class Axis(NamedTuple):
    """A scale from `low` to `high`, with ticks at round numbers."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis the value lies, 0 to 1; beyond the ends it is cut to them."""
        place = self._at(value) if value > 0 or not self.log else -math.inf
        begin, end = self._at(self.low), self._at(self.high)
        return min(1.0, max(0.0, (place - begin) / (end - begin)))

    def _at(self, value: float) -> float:
        return math.log10(value) if self.log else value


def steps(values: Sequence[float], *, most: int = 6) -> Axis:
    """An axis that begins and ends with the values, which are whole numbers, with ticks between."""
    low, high = min(values), max(values)
    if low == high:
        return Axis(low - 1, high + 1, (low,))
    wide = linear(values, most=most, whole=True)
    return Axis(low, high, tuple(tick for tick in wide.ticks if low <= tick <= high))


def linear(values: Sequence[float], *, most: int = 6, whole: bool = False) -> Axis:
    """An axis that begins and ends at a tick.

    Args:
        values: What it must hold.
        most: Ticks, about.
        whole: Ticks are whole numbers.
    """
    low, high = min(values), max(values)
    largest = max(abs(low), abs(high))
    if largest < 1 / EXTREME:
        low, high = 0.0, 1.0
    elif high - low <= 1e-9 * largest:  # no tick could tell them apart
        low, high = low - largest / 10, high + largest / 10
    step = _step((high - low) / max(1, most - 1), whole)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{number * step:.12g}") for number in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def logarithmic(values: Sequence[float], *, most: int = 6) -> Axis:
    """An axis on which equal factors are equally long, for values above 0.

    It begins and ends at 1, 2 or 5 times a power of ten; ticks are there too, or at the powers alone.
    """
    low, high = (min(EXTREME, max(1 / EXTREME, value)) for value in (min(values), max(values)))
    if high < 4 * low:  # too near together for 1, 2, 5
        plain = linear((low, high), most=most)
        if plain.low > 0:
            return plain._replace(log=True)
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    fine = [lead * 10.0**power for power in range(first, last) for lead in (1, 2, 5)] + [10.0**last]
    inside = [tick for place, tick in enumerate(fine) if _borders(fine, place, low, high)]
    ticks = inside
    if len(inside) > most + 1:
        every = math.ceil((last - first) / most)
        ticks = [10.0**power for power in range(first, last + 1, every) if inside[0] <= 10.0**power <= inside[-1]]
    return Axis(inside[0], inside[-1], tuple(float(f"{tick:.12g}") for tick in ticks), log=True)


def _borders(ticks: Sequence[float], place: int, low: float, high: float) -> bool:
    """Whether a tick, or the gap beside it, is needed to hold everything from `low` to `high`."""
    before = ticks[place - 1] if place else ticks[place]
    after = ticks[place + 1] if place + 1 < len(ticks) else ticks[place]
    return after > low and before < high


def _step(rough: float, whole: bool) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(lead * power for lead in STEPS if lead * power >= rough * (1 - 1e-9))
    return max(1.0, math.ceil(step)) if whole else step


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """The ticks with the fewest decimals that tell them apart, very large and very small ones as powers of ten."""
    return [_label(tick, _decimals(ticks, tick)) for tick in ticks]


def _decimals(ticks: Sequence[float], tick: float) -> int:
    """Decimals of a tick: those of the finest step for even ticks, its own for ticks that are factors apart."""
    gaps = [b - a for a, b in itertools.pairwise(ticks)]
    if not gaps:
        return _own_decimals(tick)
    even = max(gaps) < 1.5 * min(gaps)
    return max(_own_decimals(value) for value in ticks) if even else _own_decimals(tick)


def _own_decimals(value: float) -> int:
    digits = f"{value:.12f}".rstrip("0")
    return len(digits.partition(".")[2])


def _label(value: float, decimals: int) -> str:
    if value and not 1e-4 <= abs(value) < 1e6:
        lead, _, power = f"{value:.2e}".partition("e")
        return f"{float(lead):g}e{int(power)}"
    return f"{value:,.{decimals}f}"


def short(value: float) -> str:
    """A number with three significant digits, for a label inside of a chart."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return _label(value, 0)
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(6, max(0, digits))}f}"
