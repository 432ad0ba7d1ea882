"""Two evaluations in, one Retention out: pure statistics on documents that both models answered."""

from distill_eval.compare.looks import Looked, bounded, shuffled
from distill_eval.compare.pairing import Evaluated
from distill_eval.compare.power import planned_power
from distill_eval.compare.retention import compare, undecided
from distill_eval.compare.verdict import check_margin

__all__ = [
    "Evaluated",
    "Looked",
    "bounded",
    "check_margin",
    "compare",
    "planned_power",
    "shuffled",
    "undecided",
]
