"""The verb `bench`: how fast models are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from distill_eval.verbs.fidelity import WIDE
from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.bench.config import BenchConfig

INTERRUPTED = 130


def bench(config: BenchConfig, argv: Sequence[str]) -> int:
    """Measure how fast models are; 1 when a server was lost, 130 when Ctrl-C came, both with what was measured."""
    from distill_eval.pipeline.bench import bench as measure
    from distill_eval.report.bench_rows import print_bench

    done = measure(config, argv=argv, say=say)
    console = Console()
    print_bench(done.run, console if console.is_terminal else Console(width=WIDE))
    print(f"Report: {done.report}")
    if done.ended is None:
        return 0
    print(f"distill-eval: {done.ended}; what was measured is in {done.report.parent}", file=sys.stderr)
    return INTERRUPTED if done.ended.interrupted else 1
