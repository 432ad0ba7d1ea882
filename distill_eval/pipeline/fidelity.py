"""Hold models against a reference, and write the report of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distill_eval.fidelity.config import FidelityConfig
    from distill_eval.schema.fidelity import Fidelity
    from distill_eval.store import Store


class Done(NamedTuple):
    """A finished measurement."""

    fidelity: Fidelity
    report: Path


def fidelity(config: FidelityConfig, *, store: Store, argv: Sequence[str], say: Callable[[str], Any]) -> Done:
    """Measure, and write `fidelity.md` beside `fidelity.json`.

    Raises:
        DistillEvalError: see `distill_eval.fidelity.run.run`.
    """
    from distill_eval.fidelity.run import run
    from distill_eval.report import fidelity as report
    from distill_eval.store import write_atomic

    done = run(config, store=store, argv=argv, say=say)
    path = config.output_dir.expanduser() / report.TEXT
    write_atomic(path, report.render(done))
    return Done(done, path)
