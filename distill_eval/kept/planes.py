"""Numbers as all first bytes, then all second ones, and so on: equal neighbors make runs for zlib."""

from __future__ import annotations

import numpy as np


def split(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]], num_bytes: int) -> bytes:
    """The bytes of numbers of `num_bytes` each, plane by plane."""
    return values.reshape(-1, 1).view(np.uint8).reshape(-1, num_bytes).T.tobytes()


def join(planes: bytes, num_bytes: int) -> bytes:
    """What `split` was given, number by number."""
    return np.frombuffer(planes, dtype=np.uint8).reshape(num_bytes, -1).T.tobytes()
