"""How many times as fast, from repeats that were measured in turn: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from distill_eval.schema.bench import Ratio

LEVEL = 0.95
NUM_RESAMPLES = 9_999
LEAST_REPEATS = 3


def ratio(pairs: Sequence[float]) -> Ratio:
    """The geometric mean of ratios of the same repeat, with a bootstrap interval over repeats.

    The interval is the percentile interval of the mean logarithm, taken further out in the tails because there are few
    repeats (Hesterberg 2015, The American Statistician 69:371-386, section 4.3, "expanded percentile interval").

    Raises:
        ValueError: there is no pair, or one is not positive.
    """
    if not pairs or min(pairs) <= 0:
        raise ValueError(f"ratios {list(pairs)}: expected positive numbers")
    logs = np.log(np.asarray(pairs, dtype=np.float64))
    low, high = _interval(logs) if len(pairs) >= LEAST_REPEATS else (None, None)
    return Ratio(
        value=math.exp(logs.mean()),
        ci_low=None if low is None else math.exp(low),
        ci_high=None if high is None else math.exp(high),
        pairs=tuple(float(pair) for pair in pairs),
    )


def _interval(values: np.typing.NDArray[np.float64]) -> tuple[float, float]:
    num = len(values)
    tail = float(stats.norm.cdf(math.sqrt(num / (num - 1)) * stats.t.ppf((1 - LEVEL) / 2, num - 1)))
    draws = np.random.default_rng(0).integers(num, size=(NUM_RESAMPLES, num))
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)
