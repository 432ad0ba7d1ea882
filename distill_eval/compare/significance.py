"""Paired tests of no difference, and their adjustment for the number of tasks."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.schema.retention import Estimate, Outcome


def sign_test(num_better: int, num_worse: int) -> float:
    """Exact two-sided p-value that a document which changed is as likely to have become better as worse.

    For 0/1 scores this is the exact McNemar test (McNemar 1947, Psychometrika 12:153-157; the exact form in Agresti
    2013, Categorical Data Analysis, section 11.1.1). 1 where no document changed.
    """
    from scipy.stats import binomtest

    changed = num_better + num_worse
    return float(binomtest(num_better, changed, 0.5).pvalue) if changed else 1.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for their number, in the order given; `None` takes no part.

    The step-down adjustment of Holm (1979, Scandinavian Journal of Statistics 6:65-70).
    """
    known = [p for p in p_values if p is not None]
    if len(known) < 2:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    adjusted = iter(multipletests(known, method="holm")[1])
    return [None if p is None else float(next(adjusted)) for p in p_values]


def outcome(difference: Estimate, p_adjusted: float, level: float, *, higher_is_better: bool) -> Outcome:
    """Whether a model is better or worse than another, where the adjusted p-value is below 1 - level, else unclear."""
    if p_adjusted >= 1.0 - level or not difference.value:
        return "unclear"
    return "better" if (difference.value > 0) == higher_is_better else "worse"
