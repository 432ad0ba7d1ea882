"""Hold models against a reference, and write what was found with its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.record import to_json

if TYPE_CHECKING:
    from distill_eval.fidelity.config import FidelityConfig
    from distill_eval.schema.fidelity import Fidelity
    from distill_eval.store import Store


ARTIFACT = "fidelity.json"


class Done(NamedTuple):
    """A finished measurement."""

    fidelity: Fidelity
    report: Path


def fidelity(config: FidelityConfig, *, store: Store, argv: Sequence[str], say: Callable[[str], Any]) -> Done:
    """Measure, and write `fidelity.json` and `fidelity.md`; at no time does a report stand beside facts of another run.

    Raises:
        DistillEvalError: see `distill_eval.fidelity.run.run`.
    """
    from distill_eval.fidelity.run import run
    from distill_eval.report import fidelity as report
    from distill_eval.store import remove, write_atomic

    done = run(config, store=store, argv=argv, say=say)
    folder = config.output_dir.expanduser()
    path, text = folder / report.TEXT, report.render(done)
    remove([path])
    write_atomic(folder / ARTIFACT, to_json(done))
    write_atomic(path, text)
    return Done(done, path)
