"""Transformers and ONNX Runtime GenAI under load: one request at a time, each model in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from distill_eval.bench.child import EngineProcess, Gone, engine_process
from distill_eval.bench.generation import INTERRUPTED
from distill_eval.bench.messages import Generate, Job, Loaded, Start
from distill_eval.bench.target import Measured, Rules
from distill_eval.engine import Dtype
from distill_eval.errors import require
from distill_eval.schema.timing import Load, Prompt, RequestTiming

GRACE_S = 60.0
"""How long after its time limit a request may go on, since an engine is only stopped between tokens."""
NAMES = {"hf": "transformers", "onnx": "ONNX Runtime GenAI"}


class LocalTarget:
    """Satisfies `bench.target.Target` for one stream; times are taken in the engine's own process."""

    def __init__(self, process: EngineProcess, loaded: Loaded, engine: str, start_s: float) -> None:
        self._process, self._engine = process, engine
        self.loaded = loaded
        self.start_s = start_s
        """From the command to the loaded model."""
        self.pid = process.pid
        """Of the engine's process, the memory of which is the model's and the engine's alone."""

    def measure(
        self, load: Load, prompts: Sequence[Prompt], rules: Rules, *, window: int, zero: float, seed: int
    ) -> Measured:
        """As `Target.measure`; greedy, whatever the temperature that the rules name.

        Raises:
            UsageError: the load is not a closed loop of one stream, or the rules ask for what a process does not do.
        """
        del seed  # a closed loop has no schedule
        name = NAMES[self._engine]
        require(
            load.kind == "closed" and load.concurrency == 1,
            f"{load.label}: {name} answers one request at a time here (concurrency 1); for more streams type "
            "--engine vllm",
        )
        require(rules.temperature == 0, f"temperature {rules.temperature:g}: {name} is run greedily here (0)")
        job = Generate(
            prompts=tuple(prompts),
            ignore_eos=load.ignore_eos,
            timeout_s=rules.timeout_s,
            window=window,
            zero=zero,
        )
        return _Window(self._process, job).run()


class _Window:
    """One job and what came back of it."""

    def __init__(self, process: EngineProcess, job: Generate) -> None:
        self._process, self._job = process, job
        self._timings: list[RequestTiming] = []
        self._begun: tuple[int, float] | None = None
        """The request that goes on, and when we heard of it."""
        self._interrupted = False

    def run(self) -> Measured:
        began, lost = self._now(), False
        try:
            self._process.tell(Job(generate=self._job))
            while self._listen():
                pass
        except Gone as gone:
            lost = True
            self._lose(str(gone))
        timings = tuple(self._timings)
        return Measured(
            timings=timings,
            began_s=timings[0].sent_s if timings else began,
            ended_s=timings[-1].ended_s if timings else self._now(),
            loop_lag_ms=None,
            client_cpu=None,
            interrupted=self._interrupted,
            lost=lost,
        )

    def _listen(self) -> bool:
        """Take what the process says; False at the end. Ctrl-C ends the job at the next token."""
        try:
            said = self._process.hear(self._job.timeout_s + GRACE_S)
        except KeyboardInterrupt:
            if self._interrupted:
                raise
            self._interrupted = True
            self._process.interrupt()
            return True
        if said.began is not None:
            self._begun = said.began, self._now()
        if said.timing is not None:
            self._timings.append(said.timing)
            self._begun = None
        if said.failed is not None:
            raise Gone(said.failed)
        return not said.finished

    def _lose(self, reason: str) -> None:
        """The request that was going on errored."""
        if self._begun is None:
            return
        index, sent = self._begun
        prompt = self._job.prompts[index]
        self._timings.append(
            RequestTiming(
                window=self._job.window,
                index=index,
                scheduled_s=None,
                sent_s=sent,
                chunk_s=(),
                ended_s=self._now(),
                status="cancelled" if self._interrupted else "errored",
                reason=INTERRUPTED if self._interrupted else reason,
                num_tries=1,
                max_tokens=prompt.max_tokens,
                num_prompt_tokens=prompt.num_tokens,
                usage_prompt_tokens=None,
                usage_completion_tokens=None,
                text_tokens=None,
                finish_reason=None,
            )
        )

    def _now(self) -> float:
        return time.perf_counter() - self._job.zero


@contextmanager
def open_local(
    folder: Path, engine: Literal["hf", "onnx"], *, name: str, dtype: Dtype, device: str, log: Path
) -> Iterator[LocalTarget]:
    """A model that answers, for as long as the block.

    Args:
        folder: With its weights.
        engine: That runs it.
        name: As the user knows the model.
        dtype: To run it in; an exported model has its own.
        device: `cpu` or `cuda[:n]`; an exported model runs on the CPU.
        log: Where what the libraries print goes; the file stays.

    Raises:
        ModelError: it cannot be loaded.
        ServerError: its process ended before that.
    """
    begin = time.perf_counter()
    start = Start(folder=str(folder), name=name, kind=engine, dtype=dtype, device=device)
    with engine_process(start, log) as (process, loaded):
        yield LocalTarget(process, loaded, engine, time.perf_counter() - begin)
