"""How a comparison with --adaptive came to its verdict, look by look."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record


@record
class Look:
    """What was known of the criterion after so many documents."""

    num_docs: int
    ci_low: float | None
    """Of `Entry.contrast`; the ends of all looks together hold the truth at the level asked for."""
    ci_high: float | None


@record
class Adaptive:
    """Documents taken in a random order, block by block, on one task or group."""

    num_docs: int
    """Documents taken."""
    num_docs_total: int
    """Documents that there were to take."""
    stopped: Literal["verdict", "documents"]
    """Why no more were taken: every student had its verdict, or there were no more."""
    looks: tuple[Look, ...]
    usual_ci_low: float | None
    """Lower end of the contrast's interval if the number of documents had been fixed before. It was not: that interval
    holds the truth less often than its level, and is here for comparison alone."""
    usual_ci_high: float | None
