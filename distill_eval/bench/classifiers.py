"""A benchmark of classifiers and encoders: texts per second for each batch size, all models in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from distill_eval.bench.assemble import benched
from distill_eval.bench.classify import EncoderTarget, measure_in_turn, open_encoder
from distill_eval.bench.config import BenchConfig
from distill_eval.bench.entries import Entry
from distill_eval.bench.pool import Facts
from distill_eval.bench.runners import engine_facts, log_name
from distill_eval.bench.session import Ended
from distill_eval.errors import require
from distill_eval.schema.bench import BenchedModel
from distill_eval.schema.timing import Prompt
from distill_eval.serving.memory import Watched, watched


class Measured(NamedTuple):
    """Models with their results, and why it ended early."""

    models: tuple[BenchedModel, ...]
    ended: Ended | None


def require_alike(rows: Sequence[Entry]) -> bool:
    """Whether the models classify; refuses some that do beside some that do not.

    Raises:
        UsageError: they are of both kinds.
    """
    kinds = {row.is_classifier: row.name for row in rows}
    require(
        len(kinds) == 1,
        f"{kinds.get(True)} reads whole texts and {kinds.get(False)} writes: measure them in two benchmarks",
    )
    return True in kinds


def measure(
    config: BenchConfig,
    rows: Sequence[Entry],
    prompts: Sequence[Prompt],
    folder: Path,
    device: str,
    say: Callable[[str], None],
) -> Measured:
    """Measure all models, each in a process of its own.

    Raises:
        ModelError: one cannot be loaded.
        ServerError: its process ended while it loaded.
    """
    with ExitStack() as stack:
        started = [_start(config, row, folder, device, stack, say) for row in rows]
        done = measure_in_turn(
            {one.row.name: one.target for one in started},
            [prompt.text for prompt in prompts],
            [int(size) for size in config.batch_size],
            config.repeats,
            say=say,
        )
    models = tuple(
        replace(
            benched(one.row, one.facts, one.memory.peak.num_bytes),
            classifier_results=done.results.get(one.row.name, ()),
        )
        for one in started
    )
    if done.ended is None:
        return Measured(models, None)
    interrupted = isinstance(done.ended, KeyboardInterrupt)
    return Measured(models, Ended("interrupted" if interrupted else str(done.ended), interrupted=interrupted))


class _Started(NamedTuple):
    row: Entry
    target: EncoderTarget
    memory: Watched
    facts: Facts


def _start(
    config: BenchConfig, row: Entry, folder: Path, device: str, stack: ExitStack, say: Callable[[str], None]
) -> _Started:
    """A model in a process that ends with the stack."""
    assert row.folder is not None
    say(f"{row.name}: {row.runner} loads it")
    log = folder / log_name(row.name, "engine")
    target = stack.enter_context(open_encoder(row.folder, name=row.ref, dtype=config.dtype, device=device, log=log))
    memory = stack.enter_context(watched(target.pid, device))
    return _Started(row, target, memory, engine_facts(row, device, target, memory))
