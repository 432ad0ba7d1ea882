"""The verbs that lay distributions side by side: `fidelity` and `peek`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.fidelity.config import FidelityConfig, PeekConfig

WIDE = 160
"""Columns that a table takes where the output is not a terminal."""


def fidelity(config: FidelityConfig, argv: Sequence[str]) -> int:
    """Hold candidates against a reference."""
    from distill_eval.pipeline.fidelity import fidelity as measure
    from distill_eval.report.fidelity import print_fidelity
    from distill_eval.store import Store

    done = measure(config, store=Store(), argv=argv, say=say)
    print_fidelity(done.fidelity, _console())
    print(f"Report: {done.report}")
    return 0


def peek(config: PeekConfig, argv: Sequence[str]) -> int:
    """Show the next token's candidates."""
    del argv
    from distill_eval.fidelity.peek import run
    from distill_eval.record import to_jsonable
    from distill_eval.report.peek import print_peeks

    peeks = run(config)
    if config.json:
        import json

        print(json.dumps({"prompt": config.prompt, "models": [to_jsonable(one) for one in peeks]}, indent=2))
    else:
        print_peeks(peeks, config.prompt, _console())
    return 0


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)
