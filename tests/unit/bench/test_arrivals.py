"""Schedules of open loops: their rate, how uneven they are, and that they are the same for every model."""

import numpy as np
import pytest

from distill_eval.bench.arrivals import offsets
from distill_eval.errors import UsageError
from distill_eval.schema.timing import Load, Prompt

NUM = 20_000


def prompts(num, offset_s=None):
    return [Prompt(text=str(place), num_tokens=1, max_tokens=1, offset_s=offset_s) for place in range(num)]


def opened(rate, arrival="poisson", burstiness=1.0):
    return Load(kind="open", request_rate=rate, arrival=arrival, burstiness=burstiness)


def test_constant():
    assert offsets(opened(4.0, "constant"), prompts(4), seed=0) == pytest.approx((0.25, 0.5, 0.75, 1.0))


@pytest.mark.parametrize(
    ("arrival", "burstiness", "shape"),
    [("poisson", 1.0, 1.0), ("gamma", 1.0, 1.0), ("gamma", 0.25, 0.25), ("gamma", 4.0, 4.0)],
)
def test_mean_and_variance_of_the_gaps_are_those_of_the_gamma_distribution(arrival, burstiness, shape):
    """Mean 1 / rate; variance mean^2 / shape (Johnson, Kotz & Balakrishnan 1994, chapter 17)."""
    rate = 8.0
    times = np.array(offsets(opened(rate, arrival, burstiness), prompts(NUM), seed=3))
    gaps = np.diff(times, prepend=0.0)
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(1 / rate, rel=1e-9)
    # The standard error of a variance is var * sqrt((kurtosis - 1) / n); a gamma's kurtosis is 3 + 6 / shape.
    tolerance = 4 * np.sqrt((2 + 6 / shape) / NUM)
    assert gaps.var() * rate**2 * shape == pytest.approx(1.0, rel=tolerance)


@pytest.mark.parametrize("seed", range(5))
def test_few_requests_have_the_rate_too(seed):
    assert offsets(opened(2.0), prompts(7), seed=seed)[-1] == pytest.approx(3.5)


def test_the_seed_alone_decides():
    load = opened(2.0, "gamma", 0.5)
    first = offsets(load, prompts(50), seed=1)
    other_model = [Prompt(text="other", num_tokens=9, max_tokens=7) for _ in range(50)]
    assert offsets(load, other_model, seed=1) == first
    assert offsets(load, prompts(50), seed=2) != first


def test_a_tiny_shape_still_ends_on_time():
    times = offsets(opened(1.0, "gamma", 1e-300), prompts(3), seed=0)
    assert all(0 <= time <= 3 for time in times)
    assert times[-1] == 3.0


def test_no_schedule_and_all_at_once():
    assert offsets(Load(kind="closed", concurrency=2), prompts(3), seed=0) is None
    assert offsets(Load(kind="offline"), prompts(3), seed=0) == (0.0, 0.0, 0.0)
    assert offsets(opened(1.0), [], seed=0) == ()


def test_a_trace_keeps_its_times():
    trace = [Prompt(text="a", num_tokens=1, max_tokens=1, offset_s=time) for time in (0.5, 0.0, 2.0)]
    assert offsets(Load(kind="open", arrival="trace"), trace, seed=0) == (0.5, 0.0, 2.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (prompts(2), "--arrival trace: 2 of 2 prompts have no time. Type --arrival poisson"),
        (prompts(2, -1.5), "--arrival trace: a prompt is sent -1.5 s after the begin, expected 0 or more"),
    ],
    ids=["none", "negative"],
)
def test_a_trace_without_times_is_refused(given, message):
    with pytest.raises(UsageError) as error:
        offsets(Load(kind="open", arrival="trace"), given, seed=0)
    assert str(error.value) == message
