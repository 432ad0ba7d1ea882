"""Where ticks stand and how they are written."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill_eval.report.axes import linear, logarithmic, short, steps, tick_labels

NUMBERS = st.floats(min_value=-1e12, max_value=1e12, allow_nan=False)
POSITIVE = st.floats(min_value=1e-300, max_value=1e304, allow_nan=False)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ((0, 30), ["0", "10", "20", "30"]),
        ((0.024, 0.98), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ((3.2, 3.21), ["3.200", "3.202", "3.204", "3.206", "3.208", "3.210"]),
        ((-0.3, 2), ["-0.5", "0.0", "0.5", "1.0", "1.5", "2.0"]),
        ((0, 123_456), ["0", "25,000", "50,000", "75,000", "100,000", "125,000"]),
        ((0, 4e9), ["0", "1e9", "2e9", "3e9", "4e9"]),
        ((0, 5e-324), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ((0, 0), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_even_ticks_are_round_numbers(values, labels):
    assert tick_labels(linear(values).ticks) == labels


@pytest.mark.parametrize(
    ("values", "labels", "low", "high"),
    [
        ((16, 200), ["10", "20", "50", "100", "200"], 10, 200),
        ((60, 75), ["60", "65", "70", "75"], 60, 75),
        ((16.3, 49_152), ["10", "100", "1,000", "10,000"], 10, 50_000),
        ((0.18, 10.02), ["0.1", "1.0", "10.0"], 0.1, 20),
        ((20, 20), ["18", "19", "20", "21", "22"], 18, 22),
    ],
)
def test_ticks_of_factors_are_round_numbers(values, labels, low, high):
    axis = logarithmic(values)
    assert [float(label.replace(",", "")) for label in tick_labels(axis.ticks)] == [
        float(label.replace(",", "")) for label in labels
    ]
    assert (axis.low, axis.high) == (low, high)


def test_equal_factors_are_equally_long():
    axis = logarithmic((1, 10_000))
    assert [axis.share(value) for value in (1, 10, 100, 1000, 10_000)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert linear((0, 10)).share(2.5) == 0.25


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_an_even_axis_holds_its_values_with_few_ticks(values):
    axis = linear(values)
    invisible = 1e-8 * (axis.high - axis.low)
    assert axis.low - invisible <= min(values)
    assert axis.high + invisible >= max(values)
    assert 2 <= len(axis.ticks) <= 8
    assert all(0 <= axis.share(value) <= 1 for value in values)


@given(st.lists(POSITIVE, min_size=1, max_size=5))
def test_a_logarithmic_axis_is_finite_whatever_comes(values):
    axis = logarithmic(values)
    assert 0 < axis.low < axis.high < math.inf
    assert 1 <= len(axis.ticks) <= 9
    assert len(set(tick_labels(axis.ticks))) == len(axis.ticks)
    places = [axis.share(value) for value in sorted(values)]
    assert places == sorted(places)


def test_steps_begin_and_end_with_the_training():
    axis = steps((0, 130))
    assert (axis.low, axis.high, axis.ticks) == (0, 130, (0, 50, 100))
    assert steps((0, 3)).ticks == (0, 1, 2, 3)
    assert steps((0, 0)).share(0) == 0.5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.981, "0.981"),
        (0.03456, "0.0346"),
        (434.08, "434"),
        (1234.5, "1,234"),
        (0, "0"),
        (1e9, "1e9"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_inside_of_a_chart_have_three_digits(value, text):
    assert short(value) == text
