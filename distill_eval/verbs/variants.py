"""The verbs that make variants of a model for deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.export.config import ExportConfig
    from distill_eval.quantize.config import QuantizeConfig


    return 0


def export(config: ExportConfig, argv: Sequence[str]) -> int:
    """Write a model as an ONNX graph, and print how far that is from the original."""
    from distill_eval import pipeline

    done = pipeline.export(config, argv=argv, say=say)
    found = done.parity.whole
    print(
        f"{done.graph.size_bytes / 1e6:.1f} of {done.original_size_bytes / 1e6:.1f} MB; same top 1 at "
        f"{found.top1_agreement:.1%} of {found.num_positions:,}, mean KL {found.mean_kl:.3g} nats"
    )
    print(f"Exported: {config.output_dir}; how far it is from the original: {config.output_dir / 'export.md'}")
    return 0
