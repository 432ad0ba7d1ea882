"""The text of `--keep-layers` or `--drop-layers`, read against the number of layers that a teacher has (pure)."""

from __future__ import annotations

import re

from distill_eval.errors import UsageError, require

_NUMBER = re.compile(r"\d+")
_RANGE = re.compile(r"(\d+)-(\d+)")
_SLICE = re.compile(r"(\d*):(\d*)(?::(\d*))?")
_EXPECTED = "expected numbers, ranges and slices such as 0,1,2,5-9 or ::2"
_KEEP = "--keep-layers"


def check_syntax(text: str, option: str = _KEEP) -> None:
    """Refuse what no teacher could make valid.

    Raises:
        UsageError: nothing is named, an item is neither a number nor a range nor a slice, or a slice's step is 0.
    """
    require(bool(text.strip()), f"{option} is empty: {_EXPECTED}")
    for item in _items(text):
        require(
            any(pattern.fullmatch(item) for pattern in (_NUMBER, _RANGE, _SLICE)),
            f"{option} {text!r}: {item!r} is not a layer: {_EXPECTED}",
        )
        match = _SLICE.fullmatch(item)
        require(not (match and match[3] and int(match[3]) == 0), f"{option} {text!r}: the step of {item!r} is 0")


def parse_layers(text: str, num_layers: int, option: str = _KEEP) -> tuple[int, ...]:
    """The layer numbers that `text` names, ascending.

    A range `5-9` includes both ends; a slice `start:stop:step` is Python's, so `::2` is every second layer from 0.

    Raises:
        UsageError: the syntax is wrong, a layer does not exist, comes twice or out of order, or none is named.
    """
    check_syntax(text, option)
    layers: list[int] = []
    for item in _items(text):
        chosen = _expand(item, num_layers)
        if chosen is None:
            last = num_layers - 1
            raise UsageError(f"{option} {text!r}: {item!r} goes beyond the teacher's layers, which are 0 to {last}")
        require(len(chosen) > 0, f"{option} {text!r}: {item!r} names no layer of the teacher's {num_layers}")
        layers.extend(chosen)
    twice = sorted({layer for layer in layers if layers.count(layer) > 1})
    require(not twice, f"{option} {text!r} names {', '.join(map(str, twice))} more than once")
    ordered = sorted(layers)
    hint = f"layers keep the teacher's order. Type {','.join(map(str, ordered))}"
    require(layers == ordered, f"{option} {text!r} is not in ascending order: {hint}")
    return tuple(layers)


def parse_dropped(text: str, num_layers: int) -> tuple[int, ...]:
    """The layer numbers that stay when those that `text` names are dropped.

    Raises:
        UsageError: as `parse_layers`, or nothing stays.
    """
    dropped = parse_layers(text, num_layers, "--drop-layers")
    kept = tuple(layer for layer in range(num_layers) if layer not in dropped)
    require(bool(kept), f"--drop-layers {text!r} leaves none of the teacher's {num_layers} layers")
    return kept


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _expand(item: str, num_layers: int) -> range | None:
    """The layers of one item (possibly none); `None` when it names one that the teacher does not have."""
    if _NUMBER.fullmatch(item):
        start, stop, step = int(item), int(item) + 1, 1
    elif match := _RANGE.fullmatch(item):
        start, stop, step = int(match[1]), int(match[2]) + 1, 1
    else:
        first, last, every = (*item.split(":"), "")[:3]
        start, stop, step = int(first or 0), int(last or num_layers), int(every or 1)
    return range(start, stop, step) if start < num_layers and stop <= num_layers else None
