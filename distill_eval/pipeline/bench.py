"""Measure how fast models are, and write what was found with its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.errors import require
from distill_eval.pipeline.newest import newest
from distill_eval.record import to_json

if TYPE_CHECKING:
    from distill_eval.bench.config import BenchConfig
    from distill_eval.bench.session import Ended
    from distill_eval.schema.bench import BenchRun


class Done(NamedTuple):
    """A finished benchmark, or one that ended early with what it has."""

    run: BenchRun
    report: Path
    ended: Ended | None
    """Why before its time."""


def bench(config: BenchConfig, *, argv: Sequence[str], say: Callable[[str], None]) -> Done:
    """Measure, and write `bench.json` and `bench.md` beside `timings.parquet`; never a text beside another's facts.

    Raises:
        DistillEvalError: see `distill_eval.bench.run.run`.
    """
    from distill_eval.bench import run as stage
    from distill_eval.report import bench as report
    from distill_eval.report.sections import short_names
    from distill_eval.store import remove, write_atomic

    folder, ended = config.output_dir.expanduser(), None
    if config.from_timings is not None:
        source = config.from_timings.expanduser()
        own = folder.resolve() == source.parent.resolve()
        require(
            own or not (folder / stage.ARTIFACT).exists(),
            f"--output-dir {folder} holds another benchmark: name another folder, e.g. --output-dir {source.parent}",
        )
        run = stage.again(source, config)
    else:
        if not config.model and not config.endpoint:
            found = newest(Path())
            say(f"Models of {found.source}: {', '.join(found.models)}")
            config = replace(config, model=found.models)  # checks the number of --engine again
        require(bool(config.model), "--endpoint needs the models' names there, e.g. --model NAME")
        run, ended = stage.run(config, argv=argv, say=say, names=short_names)
    remove([folder / report.TEXT])
    write_atomic(folder / stage.ARTIFACT, to_json(run))
    return Done(run, describe(run, folder), ended)


def describe(run: BenchRun, folder: Path) -> Path:
    """Write `bench.md` beside its `bench.json`; returns its path.

    Raises:
        StoreError: the folder cannot be written.
    """
    from distill_eval.report import bench as report
    from distill_eval.store import write_atomic

    path = folder / report.TEXT
    write_atomic(path, report.render(run))
    return path
