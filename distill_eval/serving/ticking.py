"""Something done again and again beside a block of code."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ticking(act: Callable[[], Any], seconds: float) -> Iterator[None]:
    """Call `act` at once, every so many seconds, and once more at the end, from a thread of its own."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(seconds):
            act()

    act()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        act()
