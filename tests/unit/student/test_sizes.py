import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_eval.errors import UsageError
from distill_eval.student.sizes import parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("80M", 80_000_000), ("1.1B", 1_100_000_000), ("500k", 500_000), (" 12 m ", 12_000_000), ("134515008", 134515008)],
)
def test_reads(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1M", "80 MB", "1e6", "0", "0.0001K", "nan"])
def test_refuses(text):
    with pytest.raises(UsageError) as error:
        parse_size(text)
    assert str(error.value) == f"--target-params {text!r}: expected a number of parameters, e.g. 80M or 1.1B"


@pytest.mark.parametrize(
    ("size", "text"),
    [(80_000_000, "80M"), (134515008, "134.5M"), (1_234_567_890, "1.235B"), (54816, "54.82K"), (7, "7")],
)
def test_shows(size, text):
    assert show_size(size) == text


@given(st.integers(1, 10**12))
def test_what_is_shown_reads_back_within_a_thousandth(size):
    assert abs(parse_size(show_size(size)) / size - 1) <= 1e-3
