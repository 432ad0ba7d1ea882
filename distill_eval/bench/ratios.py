"""How many times as fast, from repeats that were measured in turn: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from distill_eval.schema.bench import Ratio

LEVEL = 0.95
LEAST_REPEATS = 3


def ratio(pairs: Sequence[float]) -> Ratio:
    """The geometric mean of ratios of the same repeat, with Student's interval of the mean logarithm.

    No bootstrap: resampled means of three to five repeats never leave the range of the repeats, and 95 % intervals of
    that kind covered 0.75 with three and 0.86 with four.

    Raises:
        ValueError: there is no pair, or one is not positive.
    """
    if not pairs or min(pairs) <= 0:
        raise ValueError(f"ratios {list(pairs)}: expected positive numbers")
    logs = np.log(np.asarray(pairs, dtype=np.float64))
    mean, low, high = float(logs.mean()), None, None
    if len(pairs) >= LEAST_REPEATS:
        from scipy import stats  # a second, which the first request need not wait for

        half = float(stats.t.ppf((1 + LEVEL) / 2, len(pairs) - 1) * logs.std(ddof=1) / math.sqrt(len(pairs)))
        low, high = math.exp(mean - half), math.exp(mean + half)
    return Ratio(value=math.exp(mean), ci_low=low, ci_high=high, pairs=tuple(float(pair) for pair in pairs))
