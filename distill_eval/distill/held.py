"""How much memory a training takes, beside what its process had before the models came."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

from distill_eval.serving.ticking import ticking

SECONDS_BETWEEN = 0.05


class Held:
    """The most that was seen."""

    num_bytes: int = 0


@contextmanager
def held(device: str, before: int) -> Iterator[Held]:
    """The peak of this process's memory while the block runs; it is known when the block has ended.

    Of a GPU it is what its tensors took, the models' that are loaded already among them (without CUDA's own memory and
    what its allocator keeps free); of a processor the resident size, less what it was before.

    Args:
        device: `cpu` or `cuda[:n]`.
        before: Resident bytes before any model was loaded.
    """
    found = Held()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        found.num_bytes = torch.cuda.max_memory_allocated(device)
        return

    def read() -> None:
        found.num_bytes = max(found.num_bytes, resident_bytes() - before)

    with ticking(read, SECONDS_BETWEEN):
        yield found


def resident_bytes() -> int:
    """Of this process, now."""
    return int(psutil.Process().memory_info().rss)


def resident_at_rest() -> int:
    """The same, after what earlier work of this process left free in its heap is given back (where that is glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
    return resident_bytes()
