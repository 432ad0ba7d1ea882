"""Two evaluations in, one Retention out: pure statistics on documents that both models answered."""

from distill_eval.compare.pairing import Evaluated
from distill_eval.compare.power import planned_power
from distill_eval.compare.retention import compare
from distill_eval.compare.verdict import check_margin

__all__ = ["Evaluated", "check_margin", "compare", "planned_power"]
