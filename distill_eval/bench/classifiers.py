"""A benchmark of classifiers and encoders: texts per second for each batch size, all models in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from distill_eval.bench.assemble import benched
from distill_eval.bench.classify import measure_in_turn, open_encoder
from distill_eval.bench.config import BenchConfig
from distill_eval.bench.entries import Entry
from distill_eval.bench.pool import Facts
from distill_eval.bench.runners import log_name, weights_bytes
from distill_eval.bench.session import Ended
from distill_eval.errors import require
from distill_eval.provenance import engine_version
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
    texts, sizes = [prompt.text for prompt in prompts], [int(size) for size in config.batch_size]
    with ExitStack() as stack:
        targets, watching, facts = {}, dict[str, Watched](), dict[str, Facts]()
        for row in rows:
            assert row.folder is not None
            say(f"{row.name}: {row.runner} loads it")
            log = folder / log_name(row.name, "engine")
            target = stack.enter_context(
                open_encoder(row.folder, name=row.ref, dtype=config.dtype, device=device, log=log)
            )
            targets[row.name] = target
            watching[row.name] = stack.enter_context(watched(target.pid, device))
            facts[row.name] = Facts(
                engine=row.runner,
                engine_version=engine_version(row.runner),
                device=device,
                dtype=target.loaded.dtype,
                max_model_len=target.loaded.max_length,
                start_s=target.start_s,
                weights_bytes=weights_bytes(row),
                rest_bytes=watching[row.name].rest.num_bytes,
            )
        done = measure_in_turn(targets, texts, sizes, config.repeats, say=say)
    models = tuple(
        replace(
            benched(row, facts[row.name], watching[row.name].peak.num_bytes),
            classifier_results=done.results.get(row.name, ()),
        )
        for row in rows
    )
    if done.ended is None:
        return Measured(models, None)
    interrupted = isinstance(done.ended, KeyboardInterrupt)
    return Measured(models, Ended("interrupted" if interrupted else str(done.ended), interrupted=interrupted))
