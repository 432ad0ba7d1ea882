"""The order of the stages, and the reports that are written of what they did."""

from distill_eval.compare_config import CompareConfig
from distill_eval.pipeline.comparison import Compared, compare
from distill_eval.pipeline.training import CurvesConfig, curves, distill, prepare
from distill_eval.pipeline.variants import export, quantize

__all__ = ["CompareConfig", "Compared", "CurvesConfig", "compare", "curves", "distill", "export", "prepare", "quantize"]
