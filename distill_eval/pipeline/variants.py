"""Make variants of a model, and write the reports of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill_eval.export.config import ExportConfig
    from distill_eval.quantize.config import QuantizeConfig
    from distill_eval.schema.export import ExportRun
    from distill_eval.schema.quant import QuantRun


def quantize(config: QuantizeConfig, *, argv: Sequence[str], say: Callable[[str], None]) -> QuantRun:
    """Quantize a model, and say what that did to it in `quant.md` beside its `quant.json`.

    Raises:
        DistillEvalError: see `distill_eval.quantize.run.run`.
    """
    from distill_eval.quantize.run import run
    from distill_eval.report import quant as report

    return run(config, argv=argv, say=say, describe=report.files)


def export(config: ExportConfig, *, argv: Sequence[str], say: Callable[[str], None]) -> ExportRun:
    """Write a model as an ONNX graph, with `export.md` and the README.md that runs it beside its `export.json`.

    Raises:
        DistillEvalError: see `distill_eval.export.run.run`.
    """
    from distill_eval.export.run import run
    from distill_eval.report import export as report

    return run(config, argv=argv, say=say, describe=report.files)
