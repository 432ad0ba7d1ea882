"""In which order models, loads and repeats are measured: pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Turn(NamedTuple):
    """One measurement to come."""

    model: int
    """Its place in the table."""
    load: int
    repeat: int
    again: bool = False
    """The baseline a second time, for the noise floor."""


def turns(num_models: int, loads: Sequence[object], num_repeats: int, *, together: bool) -> Iterator[Turn]:
    """All measurements, the models of a repeat one after the other so that slow drift hits them alike.

    The baseline closes each repeat again (A B A, A B A ...): the ratio of its two turns is what a ratio of 1 looks
    like. With servers in turn, a model has all its loads before the next is started.
    """
    for repeat in range(num_repeats):
        order = [(model, False) for model in range(num_models)] + [(0, True)]
        if together:
            for load in range(len(loads)):
                yield from (Turn(model, load, repeat, again) for model, again in order)
        else:
            for model, again in order:
                yield from (Turn(model, load, repeat, again) for load in range(len(loads)))


MAX_WARMUP = 6
STEADY = 0.1
"""Two windows in a row that differ by less than this share: the server is warm."""


def is_steady(throughputs: Sequence[float]) -> bool:
    """Whether the last two windows of a warm-up are alike."""
    if len(throughputs) < 2:
        return False
    before, now = throughputs[-2:]
    return abs(now - before) <= STEADY * max(before, now)


GROWTH = 2.0
MOST_ABOVE, MOST_BELOW = GROWTH**10, GROWTH**4
"""How far from its begin a search goes; a low rate takes long."""
CLOSE = 1.1
"""The search ends when the lowest failed rate is at most so many times the highest that held."""


def next_rate(held: Sequence[float], failed: Sequence[float], start: float) -> float | None:
    """The next request rate of a sweep: doubled until one fails, halved until one holds, then bisected.

    Bisection is by the geometric mean, since what matters is the share by which two rates differ.

    Returns:
        The rate, or `None` when the search is over.
    """
    if not held and not failed:
        return start
    if not failed:
        return max(held) * GROWTH if max(held) < start * MOST_ABOVE else None
    if not held:
        return min(failed) / GROWTH if min(failed) > start / MOST_BELOW else None
    low = max(rate for rate in held if rate < min(failed)) if min(held) < min(failed) else None
    if low is None:
        return min(failed) / GROWTH if min(failed) > start / MOST_BELOW else None
    return None if min(failed) <= CLOSE * low else (low * min(failed)) ** 0.5
