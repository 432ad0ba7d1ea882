"""The verbs that make variants of a model for deployment: `export`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distill_eval.export.config import ExportConfig


def say(line: str) -> None:
    """A line for the reader, at once."""
    print(line, flush=True)


def export(config: ExportConfig, argv: Sequence[str]) -> int:
    """Write a model as an ONNX graph."""
    from distill_eval.export.run import run
    from distill_eval.report import export as report

    done = run(config, argv=argv, say=say, describe=report.files)
    found = done.parity.whole
    print(
        f"{done.graph.size_bytes / 1e6:.1f} MB of {done.original_size_bytes / 1e6:.1f}; same top 1 at "
        f"{found.top1_agreement:.1%} of {found.num_positions:,}, mean KL {found.mean_kl:.3g} nats"
    )
    print(f"Exported: {config.output_dir}; parity: {config.output_dir / report.TEXT}")
    return 0
