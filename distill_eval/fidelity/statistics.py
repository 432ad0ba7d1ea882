"""Means over scored positions with what is uncertain about them.

Positions of one chunk share a text, so they are not independent. Standard errors are therefore those of chunk means
(Miller 2024, arXiv 2411.00640, section 2.2; all chunks have equally many positions, which makes the clustered formula
the plain one over their means). `stderr_iid` takes every position as independent, as llama.cpp's perplexity tool does,
so that figures can be laid beside its published ones; it is usually too small.

Shapes: C chunks, S scored positions of each.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from distill_eval.schema.fidelity import Estimate, Share, Spread

Values: TypeAlias = npt.NDArray[np.float64]
LEVEL = 0.95


def mean(values_CS: Values) -> Estimate:
    """The mean; its standard errors are `None` for a single chunk, or a single position."""
    num_chunks, total = len(values_CS), values_CS.size
    by_chunk = values_CS.mean(1)
    return Estimate(
        value=float(values_CS.mean()),
        stderr=float(by_chunk.std(ddof=1) / math.sqrt(num_chunks)) if num_chunks > 1 else None,
        stderr_iid=float(values_CS.std(ddof=1) / math.sqrt(total)) if total > 1 else None,
    )


def spread(values_CS: Values) -> Spread:
    """Mean, and percentiles over positions (linear interpolation, as numpy and llama.cpp have it)."""
    median, p90, p99, highest = np.percentile(values_CS, [50, 90, 99, 100])
    return Spread(mean=mean(values_CS), median=float(median), p90=float(p90), p99=float(p99), maximum=float(highest))


def share(values_CS: Values) -> Share:
    """A share of positions (values 0 and 1) with Wilson's 95 % interval (1927, J. Am. Stat. Assoc. 22:209-212).

    The interval's number of positions is the effective one: that with which independent positions would have the
    standard error of the chunks, at most all, reduced for the few chunks that this standard error is known from (Korn
    and Graubard 1998, Survey Methodology 24:193-201).
    """
    found = mean(values_CS)
    p, n = found.value, float(values_CS.size)
    if found.stderr is not None:
        normal, student = stats.norm.ppf((1 + LEVEL) / 2), stats.t.ppf((1 + LEVEL) / 2, len(values_CS) - 1)
        effective = min(n, p * (1 - p) / found.stderr**2) if found.stderr else n
        n = effective * float(normal / student) ** 2
    low, high = proportion_confint(p * n, n, alpha=1 - LEVEL, method="wilson")
    return Share(value=p, stderr=found.stderr, stderr_iid=found.stderr_iid, ci_low=float(low), ci_high=float(high))


def root_mean_square(values_CS: Values) -> Estimate:
    """Of the values; the error of their mean square is propagated. 0 has no error."""
    square = mean(values_CS**2)
    root = math.sqrt(square.value)
    return _scaled(square, root, 0.5 / root if root else 0.0)


def exponential(of: Estimate) -> Estimate:
    """exp(x), with its error propagated: from mean negative log-likelihood to perplexity."""
    value = math.exp(of.value)
    return _scaled(of, value, value)


def bits_per_byte(nats_CS: Values, num_bytes_C: Values) -> Estimate:
    """Summed negative log-likelihood in bits over summed bytes, with the error of a ratio of sums over chunks.

    There is no `stderr_iid`: a byte is no position.
    """
    bits_C, total = nats_CS.sum(1) / math.log(2), float(num_bytes_C.sum())
    value = float(bits_C.sum()) / total
    count = len(bits_C)
    off = float(((bits_C - value * num_bytes_C) ** 2).sum())
    stderr = math.sqrt(count / (count - 1) * off) / total if count > 1 else None
    return Estimate(value=value, stderr=stderr, stderr_iid=None)


def _scaled(of: Estimate, value: float, factor: float) -> Estimate:
    stderr, stderr_iid = (None if error is None else error * factor for error in (of.stderr, of.stderr_iid))
    return Estimate(value=value, stderr=stderr, stderr_iid=stderr_iid)
