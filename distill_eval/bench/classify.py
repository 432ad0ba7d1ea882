"""Classifiers and encoders: texts per second and latency per batch, in transformers and in ONNX Runtime."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from distill_eval.bench.child import EngineProcess, Gone, engine_process
from distill_eval.bench.messages import BatchTiming, Encode, Job, Loaded, Start
from distill_eval.bench.metrics import latency
from distill_eval.bench.plan import MAX_WARMUP, Turn, is_steady, turns
from distill_eval.bench.ratios import ratio
from distill_eval.engine import Dtype
from distill_eval.errors import ServerError, require
from distill_eval.schema.bench import ClassifierResult, Ratio

LEAST_BATCHES = 8
"""Of one measurement; with few texts they are taken again."""
ANSWER_S = 600.0
"""How long a measurement may take."""


class Batches(Protocol):
    """Satisfied by `EncoderTarget`."""

    what: str

    def measure(self, texts: Sequence[str], batch_size: int, num_batches: int) -> tuple[BatchTiming, ...]:
        """Run batches of the texts, from the first again when they are used up, and time each.

        Raises:
            ServerError: the engine is gone.
            KeyboardInterrupt: Ctrl-C came; the engine has ended its job.
        """
        ...


class EncoderTarget:
    """A classifier or encoder in a process of its own."""

    def __init__(self, process: EngineProcess, loaded: Loaded, start_s: float) -> None:
        self._process = process
        self.loaded, self.what = loaded, loaded.what
        self.start_s = start_s
        """From the command to the loaded model."""
        self.pid = process.pid
        """Of the engine's process, the memory of which is the model's and the engine's alone."""

    def measure(self, texts: Sequence[str], batch_size: int, num_batches: int) -> tuple[BatchTiming, ...]:
        """As `Batches.measure`."""
        job = Encode(texts=tuple(texts), batch_size=batch_size, num_batches=num_batches)
        try:
            self._process.tell(Job(encode=job))
            return self._listen()
        except Gone as gone:
            raise ServerError(str(gone)) from gone
        except KeyboardInterrupt:
            self._process.interrupt()
            raise

    def _listen(self) -> tuple[BatchTiming, ...]:
        found: tuple[BatchTiming, ...] = ()
        while not (said := self._process.hear(ANSWER_S)).finished:
            if said.failed is not None:
                raise ServerError(said.failed)
            found = said.batches or found
        return found


@contextmanager
def open_encoder(folder: Path, *, name: str, dtype: Dtype, device: str, log: Path) -> Iterator[EncoderTarget]:
    """A classifier or encoder that runs for as long as the block: by ONNX Runtime where the folder has a graph.

    Args:
        folder: With its weights.
        name: As the user knows the model.
        dtype: To run it in; an exported model has its own.
        device: `cpu` or `cuda[:n]`.
        log: Where what the libraries print goes; the file stays.

    Raises:
        ModelError: it cannot be loaded.
        ServerError: its process ended before that.
    """
    begin = time.perf_counter()
    start = Start(folder=str(folder), name=name, kind="encoder", dtype=dtype, device=device)
    with engine_process(start, log) as (process, loaded):
        yield EncoderTarget(process, loaded, time.perf_counter() - begin)


class Classified(NamedTuple):
    """What was measured, all of it or what there was until it ended."""

    results: dict[str, tuple[ClassifierResult, ...]]
    """By model, in the order of the batch sizes."""
    ended: BaseException | None
    """Why it ended early: `KeyboardInterrupt`, or a `ServerError`."""


def measure_in_turn(
    targets: Mapping[str, Batches],
    texts: Sequence[str],
    batch_sizes: Sequence[int],
    num_repeats: int,
    *,
    say: Callable[[str], Any],
) -> Classified:
    """All models on the same texts, in turn, each warm before it is measured.

    Args:
        targets: By name; the first is the baseline, which has a second turn in every repeat.
        texts: At least one.
        batch_sizes: Texts at once.
        num_repeats: How often everything is measured.
        say: Takes a line for each measurement.
    """
    require(bool(texts), "no texts to classify: name a data set with texts")
    names, measured, ended = list(targets), dict[Turn, tuple[BatchTiming, ...]](), None
    try:
        for turn in turns(len(names), batch_sizes, num_repeats, together=True):
            name, size = names[turn.model], batch_sizes[turn.load]
            num_batches = max(LEAST_BATCHES, math.ceil(len(texts) / size))
            if turn.repeat == 0 and not turn.again:
                _warm_up(targets[name], texts, size)
            measured[turn] = targets[name].measure(texts, size, num_batches)
            rate = texts_per_second(measured[turn], size)
            again = ", again" if turn.again else ""
            say(f"repeat {turn.repeat + 1}, batch size {size}: {name}{again}: {rate:,.1f} texts/s")
    except (KeyboardInterrupt, ServerError) as error:
        ended = error
    found = {
        name: tuple(
            _result(measured, model, load, size, targets[name].what)
            for load, size in enumerate(batch_sizes)
            if Turn(model, load, 0) in measured
        )
        for model, name in enumerate(names)
    }
    return Classified(found, ended)


def texts_per_second(batches: Sequence[BatchTiming], batch_size: int) -> float:
    """Texts over the time of their batches, tokenization included."""
    return batch_size * len(batches) / sum(batch.seconds for batch in batches)


def _warm_up(target: Batches, texts: Sequence[str], batch_size: int) -> None:
    rates: list[float] = []
    while len(rates) < MAX_WARMUP and not is_steady(rates):
        rates.append(texts_per_second(target.measure(texts, batch_size, LEAST_BATCHES), batch_size))


def _result(
    measured: Mapping[Turn, Sequence[BatchTiming]], model: int, load: int, size: int, what: str
) -> ClassifierResult:
    own = {turn.repeat: batches for turn, batches in measured.items() if turn[:2] == (model, load) and not turn.again}
    batches = [batch for repeat in own.values() for batch in repeat]
    found = latency(batch.seconds for batch in batches)
    assert found is not None
    rates = {repeat: texts_per_second(those, size) for repeat, those in own.items()}
    return ClassifierResult(
        batch_size=size,
        what=what,
        texts_per_second=texts_per_second(batches, size),
        batch_ms=found,
        tokenize_share=sum(batch.tokenize_s for batch in batches) / sum(batch.seconds for batch in batches),
        speedup=None if model == 0 else _over(rates, _rates(measured, load, size, again=False)),
        noise=_over(_rates(measured, load, size, again=True), rates) if model == 0 else None,
    )


def _rates(measured: Mapping[Turn, Sequence[BatchTiming]], load: int, size: int, *, again: bool) -> dict[int, float]:
    """Texts per second of the baseline, by repeat."""
    return {
        turn.repeat: texts_per_second(batches, size)
        for turn, batches in measured.items()
        if (turn.model, turn.load, turn.again) == (0, load, again)
    }


def _over(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Ratio | None:
    common = sorted(ours.keys() & theirs.keys())
    return ratio([ours[repeat] / theirs[repeat] for repeat in common]) if common else None
