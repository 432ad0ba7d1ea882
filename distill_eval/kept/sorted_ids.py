"""Rows of sorted numbers in few bits: the code of Elias and Fano, as in Vigna 2013, arXiv 1206.4300, section 3.

The lowest bits of each number stand as they are; what is left of the K numbers of a row are K ones in a row of bits,
number i at place (number >> low) + i. That takes about log2(V / K) + 2 bits per number, always the same for K and V,
where plain numbers take log2(V). Low bits are stored plane by plane, so that equal neighbors make runs for zlib.

Shapes: N rows, K numbers of a row, L low bits, P places of a row.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.int64]


def num_bits(num_kept: int, limit: int) -> int:
    """Bits of a row.

    Args:
        num_kept: K.
        limit: All numbers are below it (V).
    """
    low = _num_low(num_kept, limit)
    return num_kept * low + _num_places(num_kept, limit, low)


def num_bytes(num_rows: int, num_kept: int, limit: int) -> int:
    """Bytes of N rows."""
    low = _num_low(num_kept, limit)
    return _whole(num_rows * num_kept * low) + _whole(num_rows * _num_places(num_kept, limit, low))


def encode(numbers_NK: Numbers, limit: int) -> bytes:
    """Rows of ascending numbers below `limit`; equal ones are allowed."""
    num_rows, num_kept = numbers_NK.shape
    low = _num_low(num_kept, limit)
    planes_LNK = (numbers_NK >> np.arange(low)[:, None, None]) & 1
    places_NP = np.zeros((num_rows, _num_places(num_kept, limit, low)), dtype=np.bool_)
    np.put_along_axis(places_NP, (numbers_NK >> low) + np.arange(num_kept), True, axis=1)
    return np.packbits(planes_LNK.astype(np.bool_)).tobytes() + np.packbits(places_NP).tobytes()


def decode(data: bytes, num_rows: int, num_kept: int, limit: int) -> Numbers:
    """What `encode` was given.

    Raises:
        ValueError: the data are not so many rows.
    """
    low = _num_low(num_kept, limit)
    num_places = _num_places(num_kept, limit, low)
    if len(data) != num_bytes(num_rows, num_kept, limit):
        raise ValueError(f"{len(data)} bytes are not {num_rows} rows of {num_kept} numbers")
    flat = np.frombuffer(data, dtype=np.uint8)
    split = _whole(num_rows * num_kept * low)
    places_NP = np.unpackbits(flat[split:], count=num_rows * num_places).reshape(num_rows, num_places)
    numbers_NK = np.nonzero(places_NP)[1].reshape(num_rows, num_kept) - np.arange(num_kept)
    planes_LNK = np.unpackbits(flat[:split], count=num_rows * num_kept * low).reshape(low, num_rows, num_kept)
    for plane_NK in planes_LNK[::-1]:
        numbers_NK = (numbers_NK << 1) | plane_NK
    return numbers_NK.astype(np.int64)


def _num_low(num_kept: int, limit: int) -> int:
    """The number of low bits that makes a row shortest."""
    return min(range(limit.bit_length() + 1), key=lambda low: num_kept * low + _num_places(num_kept, limit, low))


def _num_places(num_kept: int, limit: int, low: int) -> int:
    return ((limit - 1) >> low) + num_kept


def _whole(bits: int) -> int:
    return -(-bits // 8)
