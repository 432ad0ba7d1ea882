"""Numbers of parameters as people write them: 80M, 1.1B (pure)."""

from __future__ import annotations

import re

from distill_eval.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def parse_size(text: str, *, option: str = "--target-params", what: str = "parameters") -> int:
    """The number of parameters that `80M`, `1.1B`, `500K` or `80000000` stands for.

    Args:
        text: As it was typed.
        option: Behind which, for the message.
        what: Is counted, likewise.

    Raises:
        UsageError: the text is not such a number, or less than one.
    """
    match = _SIZE.fullmatch(text.strip())
    size = round(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size < 1:
        raise UsageError(f"{option} {text!r}: expected a number of {what}, e.g. 80M or 1.1B")
    return size


def show_size(num_parameters: int) -> str:
    """Four digits and a unit, as `parse_size` reads it: 80M, 134.5M, 1.235B."""
    for unit in ("B", "M", "K"):
        if num_parameters >= _UNITS[unit]:
            return f"{num_parameters / _UNITS[unit]:.4g}{unit}"
    return str(num_parameters)
