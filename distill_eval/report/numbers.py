"""Numbers as a reader wants them: one decimal for percent, separators for counts, never `-0.0`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

UNDEFINED = "-"


def fixed(value: float, decimals: int, *, sign: bool = False) -> str:
    """The number with that many decimals and thousands separators; zero has no sign."""
    rounded = round(value, decimals) + 0.0  # -0.0 + 0.0 is 0.0
    return f"{rounded:+,.{decimals}f}" if sign and rounded else f"{rounded:,.{decimals}f}"


def count(number: int) -> str:
    """1900 as `1,900`."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 task`, `1,900 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def rounded_up(number: int) -> int:
    """The number to two significant digits, never less, e.g. 1873 as 1900: for needs that are not known better."""
    unit: int = 10 ** max(0, len(str(number)) - 2)
    return -(-number // unit) * unit


def percent(share: float) -> str:
    """A share with one decimal, e.g. `71.2 %`."""
    return f"{fixed(100 * share, 1)} %"


def round_percent(share: float) -> str:
    """A chosen share, without needless decimals: 0.95 as `95 %`, 0.975 as `97.5 %`."""
    return f"{100 * share:.6g} %"


def p_value(probability: float) -> str:
    """Four decimals, or `< 0.0001`."""
    return "< 0.0001" if probability < 0.0001 else f"{probability:.4f}"


def size(num_bytes: int) -> str:
    """Bytes as kB, MB or GB of 10^3, 10^6 and 10^9 bytes."""
    for unit, scale in (("kB", 1e3), ("MB", 1e6)):
        if round(num_bytes / scale, 1) < 1000:
            return f"{fixed(num_bytes / scale, 1)} {unit}"
    return f"{fixed(num_bytes / 1e9, 2)} GB"


class Scale(NamedTuple):
    """How a quantity is written: `factor` times the value, then `suffix`."""

    factor: float
    decimals: int
    suffix: str
    sign: bool = False
    separator: str = ", "
    """Between the ends of an interval."""

    def show(self, value: float) -> str:
        """The value with its suffix, e.g. `-8.3 pp`."""
        return fixed(self.factor * value, self.decimals, sign=self.sign) + self.suffix

    def interval(self, low: float | None, high: float | None) -> str:
        """The interval without suffix or sign of plus, e.g. `[-10.2, -6.4]`; an undefined end is `-`."""
        return f"[{optional(low, self._bare)}{self.separator}{optional(high, self._bare)}]"

    def _bare(self, value: float) -> str:
        return fixed(self.factor * value, self.decimals)


RATIO = Scale(100, 1, " %")


def score_scale(unit: str) -> Scale:
    """How scores of that unit are written: shares in percent, anything else with four decimals."""
    return RATIO if unit == "share" else Scale(1, 4, "")


def difference_scale(unit: str) -> Scale:
    """How differences of such scores are written: of shares in percentage points (pp)."""
    return Scale(100, 1, " pp", sign=True) if unit == "share" else Scale(1, 4, "", sign=True)


def optional(value: float | None, show: Callable[[float], str]) -> str:
    """The value as `show` writes it, or `-`."""
    return UNDEFINED if value is None else show(value)
