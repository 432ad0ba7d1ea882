"""What a comparison can see: before it runs, from an assumed discordance; afterwards, from the intervals seen."""

from __future__ import annotations

import math
from statistics import NormalDist

from distill_eval.errors import require
from distill_eval.schema.evals import MetricKind
from distill_eval.schema.retention import Power

POWER = 0.8
"""The customary power (Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, section 2.4)."""

DISCORDANCE = 0.2
"""Two models of accuracy p whose right answers correlate with rho disagree on 2*p*(1-p)*(1-rho) of the documents: about
0.2 for p of 0.6 and rho of 0.6. A guess, replaced after the run by what was seen."""


def planned_power(
    num_docs: int, *, kind: MetricKind, level: float, power: float = POWER, discordance: float = DISCORDANCE
) -> Power:
    """The smallest true drop that the paired test will find with the given power, before anything is run.

    For 0/1 metrics, McNemar's test with `discordance` the share of documents on which the models disagree: the drop d
    solves `d * sqrt(n) = z_level * sqrt(discordance) + z_power * sqrt(discordance - d**2)` (Connor 1987, Biometrics
    43:207-211). The documents are taken as independent: a group whose tasks differ sees less.

    Args:
        num_docs: Documents that will be compared.
        kind: Of the metric; the drop is `None` with a reason where its spread cannot be known in advance.
        level: Confidence level, e.g. 0.95 for a two-sided test at 0.05.
        power: Chance of finding the drop.
        discordance: Assumed share of documents on which teacher and student disagree.

    Raises:
        UsageError: an argument is out of its range.
    """
    require(num_docs >= 1, f"num_docs is {num_docs}: expected at least 1 document")
    for name, value in (("level", level), ("power", power), ("discordance", discordance)):
        require(0 < value < 1, f"{name} is {value}: expected a number between 0 and 1")
    drop, reason = None, None
    if kind != "binary":
        reason = f"the spread of a {kind} metric is not known before the run"
    else:
        drop = _mcnemar_drop(num_docs, NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power), discordance)
        if drop is None:
            reason = (
                f"{num_docs} documents are too few to show a drop, even if all {discordance:.0%} that change were lost"
            )
    return Power(
        power=power,
        planned_detectable_drop=drop,
        planned_discordance=discordance if kind == "binary" else None,
        detectable_drop=None,
        num_docs_to_settle=None,
        reason=reason,
    )


def _mcnemar_drop(num_docs: int, z_level: float, z_power: float, discordance: float) -> float | None:
    """Connor's equation solved for the drop; `None` if it is above the discordance, the most that can be lost."""
    inside = num_docs + z_power**2 - z_level**2
    if inside < 0:
        return None
    drop = (
        math.sqrt(discordance) * (z_level * math.sqrt(num_docs) + z_power * math.sqrt(inside)) / (num_docs + z_power**2)
    )
    return drop if drop <= discordance else None


def seen_power(half_width: float, *, level: float, power: float) -> float:
    """The smallest true difference found with the given power, by the half-width of the interval of the difference.

    The half-width is z_level standard errors, the difference found with that power is z_level + z_power of them.
    """
    z_level, z_power = (NormalDist().inv_cdf(share) for share in ((1 + level) / 2, power))
    return half_width * (1 + z_power / z_level)


def docs_to_settle(num_docs: int, *, value: float, end: float, within_share: float) -> int | None:
    """Documents in all at which an interval that holds 0 would leave it, if the estimate stays where it is.

    The half-width shrinks with the square root of the documents, as far as it comes from them: the share of the
    variance that comes from differences between tasks stays.

    Args:
        num_docs: Documents now.
        value: The estimate.
        end: The end of its interval beyond 0.
        within_share: Share of the variance that more documents would reduce.

    Returns:
        `None` where no number of documents would do: the estimate is 0, or the tasks differ too much.
    """
    side = (value - end) ** 2
    left = value**2 - (1.0 - within_share) * side
    if value == 0 or left <= 0:
        return None
    return max(num_docs + 1, math.floor(num_docs * within_share * side / left) + 1)
