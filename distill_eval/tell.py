"""How far a long measurement is, in lines for the reader."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


class Each(Protocol):
    """Goes through items and says how far it is."""

    def __call__(self, what: str, items: Sequence[T]) -> Iterable[T]:
        """The items; `what` names what is measured on them."""


def in_silence(what: str, items: Sequence[T]) -> Iterable[T]:
    """The items, without a word."""
    del what
    return items


def telling(say: Callable[[str], Any], clock: Callable[[], float] = time.monotonic) -> Each:
    """Goes through items with a line at the start, one now and then, and one at the end.

    Args:
        say: Takes lines.
        clock: Seconds.
    """

    def each(what: str, items: Sequence[T]) -> Iterator[T]:
        began = last = clock()
        say(f"{what}: 0 of {len(items)}")
        for done, item in enumerate(items, 1):
            yield item
            now = clock()
            if done == len(items):
                say(f"{what}: {done} of {done}, {now - began:.0f} s")
            elif now - last >= SECONDS_BETWEEN_LINES:
                last = now
                say(f"{what}: {done} of {len(items)}, about {(now - began) * (len(items) - done) / done:.0f} s left")

    return each
