"""The order of a benchmark."""

import pytest

from distill_eval.bench.plan import Turn, is_steady, next_rate, turns
from distill_eval.schema.timing import Load

LOADS = (Load(kind="closed", concurrency=1), Load(kind="closed", concurrency=4))


def test_models_take_turns_within_a_load():
    found = list(turns(2, LOADS, 2, together=True))
    assert found[:6] == [
        Turn(0, 0, 0), Turn(1, 0, 0), Turn(0, 0, 0, again=True),
        Turn(0, 1, 0), Turn(1, 1, 0), Turn(0, 1, 0, again=True),
    ]  # fmt: skip
    assert len(found) == 12
    assert {turn.repeat for turn in found[6:]} == {1}


def test_servers_in_turn_have_all_loads_at_once():
    found = list(turns(2, LOADS, 1, together=False))
    assert [turn.model for turn in found] == [0, 0, 1, 1, 0, 0]
    assert [turn.again for turn in found] == [False] * 4 + [True] * 2


def test_steady():
    assert not is_steady([100.0])
    assert not is_steady([50.0, 100.0])
    assert is_steady([50.0, 100.0, 109.0])
    assert not is_steady([0.0, 100.0])


@pytest.mark.parametrize("true_rate", [0.3, 1.0, 3.7, 45.0])
def test_a_sweep_brackets_the_rate(true_rate):
    held, failed = [], []
    while (rate := next_rate(held, failed, start=1.0)) is not None:
        (held if rate <= true_rate else failed).append(rate)
        assert len(held) + len(failed) < 20
    assert max(held) <= true_rate < min(failed) <= 1.1 * max(held)


def test_a_sweep_ends_where_nothing_holds_or_fails():
    held, failed = [], []
    while (rate := next_rate(held, failed, start=1.0)) is not None:
        failed.append(rate)
    assert min(failed) == pytest.approx(2.0**-4)
    held, failed = [], []
    while (rate := next_rate(held, failed, start=1.0)) is not None:
        held.append(rate)
    assert max(held) == pytest.approx(2.0**10)


def test_a_rate_that_held_above_one_that_failed_does_not_mislead():
    assert next_rate([4.0], [2.0], start=1.0) == 1.0
    assert next_rate([1.0, 4.0], [2.0], start=1.0) == pytest.approx(2**0.5)
