"""The verbs that make variants of a model for deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.export.config import ExportConfig
    from distill_eval.quantize.config import QuantizeConfig


def quantize(config: QuantizeConfig, argv: Sequence[str]) -> int:
    """Quantize a model, and print what that did to it."""
    from distill_eval import pipeline

    done = pipeline.quantize(config, argv=argv, say=say)
    ratio = done.size_bytes / done.size_bytes_original
    size = f"{done.size_bytes / 1e6:.1f} of {done.size_bytes_original / 1e6:.1f} MB, {ratio:.2f}x"
    print(f"{len(done.quantized_layers)} layers quantized, {len(done.ignored_layers)} left; {size}")
    agreement = f"top-1 agreement {done.check.top1_agreement:.1%}"
    print(f"Mean KL to the original on held-out text: {done.check.mean_kl:.4f} nats per token, {agreement}")
    for warning in done.warnings:
        print(f"Warning: {warning}")
    print(f"Variant: {config.output_dir}; what was done and what it cost: {config.output_dir / 'quant.md'}")
    return 0


def export(config: ExportConfig, argv: Sequence[str]) -> int:
    """Write a model as an ONNX graph, and print how far that is from the original."""
    from distill_eval import pipeline

    done = pipeline.export(config, argv=argv, say=say)
    found = done.parity.whole
    if found.top1_agreement is None:
        lost = f"outputs differ by up to {found.max_relative_diff:.3g} of the largest, on {found.num_positions:,} texts"
    else:
        lost = f"same top 1 at {found.top1_agreement:.1%} of {found.num_positions:,}, mean KL {found.mean_kl:.3g} nats"
    print(f"{done.graph.size_bytes / 1e6:.1f} of {done.original_size_bytes / 1e6:.1f} MB; {lost}")
    print(f"Exported: {config.output_dir}; how far it is from the original: {config.output_dir / 'export.md'}")
    return 0
