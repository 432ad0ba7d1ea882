import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_eval.kept import sorted_ids


def round_trip(rows, limit):
    numbers = np.array(rows, dtype=np.int64)
    data = sorted_ids.encode(numbers, limit)
    assert len(data) == sorted_ids.num_bytes(*numbers.shape, limit)
    return sorted_ids.decode(data, *numbers.shape, limit).tolist()


@given(
    st.integers(1, 300_000).flatmap(
        lambda limit: st.tuples(
            st.just(limit),
            st.integers(1, 40).flatmap(
                lambda width: st.lists(
                    st.lists(st.integers(0, limit - 1), min_size=width, max_size=width).map(sorted),
                    min_size=1,
                    max_size=8,
                )
            ),
        )
    )
)
def test_rows_come_back(drawn):
    limit, rows = drawn
    assert round_trip(rows, limit) == rows


def test_the_ends_come_back():
    assert round_trip([[0, 0, 0], [9, 9, 9], [0, 4, 9]], 10) == [[0, 0, 0], [9, 9, 9], [0, 4, 9]]


def test_no_rows():
    assert sorted_ids.decode(b"", 0, 3, 10).shape == (0, 3)


@pytest.mark.parametrize(("num_kept", "limit"), [(12, 50_257), (90, 49_152), (70, 151_936), (70, 262_144)])
def test_it_is_within_two_and_a_half_bits_of_what_the_gaps_need(num_kept, limit):
    assert sorted_ids.num_bits(num_kept, limit) / num_kept < math.log2(limit / num_kept) + 2.5


def test_the_wrong_number_of_rows_is_noticed():
    data = sorted_ids.encode(np.array([[1, 2]]), 100)
    with pytest.raises(ValueError, match="bytes are not 9 rows of 2 numbers"):
        sorted_ids.decode(data, 9, 2, 100)
