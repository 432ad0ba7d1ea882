"""Figures of a plan as a reader wants them: with their unit, their spread, and where they come from."""

from __future__ import annotations

from collections.abc import Callable

from distill_eval.report import numbers
from distill_eval.report.table import Cell
from distill_eval.schema.plan import Figure

_BYTES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_COUNTS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_TIMES = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"))


def short(value: float) -> str:
    """Three significant digits without a power of ten, as long as that is readable."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    return f"{value:.3g}" if abs(value) < 999.5 else numbers.fixed(value, 0)


def _scaled(value: float, units: tuple[tuple[float, str], ...], smallest: str = "", separator: str = " ") -> str:
    for size, unit in units:
        if value >= 0.9995 * size:
            return f"{short(value / size)}{separator}{unit}"
    return f"{short(value)}{separator}{smallest}".rstrip()


def size(value: float) -> str:
    """Bytes by powers of 1000."""
    return _scaled(value, _BYTES, "bytes")


def count(value: float) -> str:
    """Tokens or parameters as --tokens takes them, e.g. 6.88B."""
    return _scaled(value, _COUNTS, separator="")


def duration(value: float) -> str:
    """Seconds as days, hours or minutes where these are 1 or more."""
    return _scaled(value, _TIMES, "s")


_UNITS: dict[str, Callable[[float], str]] = {
    "bytes": size,
    "s": duration,
    "tokens": count,
    "parameters": lambda value: numbers.count(round(value)),
    "documents": lambda value: numbers.count(round(value)),
    "share": numbers.percent,
    "USD": lambda value: f"${numbers.fixed(value, 2)}",
    "FLOP": lambda value: f"{value:.2e} FLOP",
}


def value_of(value: float, unit: str) -> str:
    """A number with its unit; of what is counted the number alone."""
    show = _UNITS.get(unit)
    return show(value) if show else f"{short(value)} {unit}"


def shown(figure: Figure) -> str:
    """The value with its unit, or a dash."""
    return numbers.UNDEFINED if figure.value is None else value_of(figure.value, figure.unit)


def spread(figure: Figure) -> str:
    """`[low, high]`; empty without any."""
    if figure.low is None and figure.high is None:
        return ""
    low, high = (numbers.optional(end, lambda value: value_of(value, figure.unit)) for end in (figure.low, figure.high))
    return f"[{low}, {high}]"


def cell(figure: Figure) -> Cell:
    """The value with its spread, and what must be said of it below the table."""
    text = " ".join(filter(None, (shown(figure), spread(figure))))
    note = figure.source if figure.value is None else f"{figure.basis}: {figure.source}"
    return Cell(text, (note,), missing=figure.value is None)
