"""Numbers as the report writes them."""

import pytest

from distill_eval.report import numbers


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0.712, "71.2 %"), (1.0, "100.0 %"), (0.0, "0.0 %"), (-0.0001, "0.0 %"), (-0.031, "-3.1 %"), (12.5, "1,250.0 %")],
)
def test_percent_has_one_decimal_and_no_negative_zero(share: float, shown: str) -> None:
    assert numbers.percent(share) == shown


@pytest.mark.parametrize(("share", "shown"), [(0.95, "95 %"), (0.975, "97.5 %"), (1.0, "100 %"), (0.9999, "99.99 %")])
def test_chosen_shares_have_no_needless_decimals(share: float, shown: str) -> None:
    assert numbers.round_percent(share) == shown


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(0.0, "< 0.0001"), (0.00009, "< 0.0001"), (0.0001, "0.0001"), (0.04567, "0.0457"), (1.0, "1.0000")],
)
def test_p_values_are_readable(probability: float, shown: str) -> None:
    assert numbers.p_value(probability) == shown


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [
        (12_345, "12.3 kB"),
        (999_960, "1.0 MB"),
        (269_060_552, "269.1 MB"),
        (999_960_000, "1.00 GB"),
        (1_345_000_000_000, "1,345.00 GB"),
    ],
)
def test_sizes_use_powers_of_ten(num_bytes: int, shown: str) -> None:
    assert numbers.size(num_bytes) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(7, 7), (99, 99), (100, 100), (101, 110), (1325, 1400), (1873, 1900), (31_870, 32_000)]
)
def test_needed_counts_are_rounded_up_to_two_significant_digits(number: int, shown: int) -> None:
    assert numbers.rounded_up(number) == shown


def test_plural_follows_the_number() -> None:
    assert [numbers.plural(number, "task") for number in (0, 1, 1900)] == ["0 tasks", "1 task", "1,900 tasks"]


def test_differences_of_shares_are_signed_points_with_unsigned_bounds() -> None:
    scale = numbers.difference_scale("share")
    assert scale.show(-0.083) == "-8.3 pp"
    assert scale.show(0.012) == "+1.2 pp"
    assert scale.show(-0.00001) == "0.0 pp"
    assert scale.interval(-0.102, 0.064) == "[-10.2, 6.4]"
    assert scale.interval(None, 0.064) == "[-, 6.4]"


@pytest.mark.parametrize("unit", ["bits/byte", "score"])
def test_other_units_have_four_decimals(unit: str) -> None:
    assert numbers.score_scale(unit).show(0.81234) == "0.8123"
    assert numbers.difference_scale(unit).show(0.01235) == "+0.0123"
