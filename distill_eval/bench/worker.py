"""An engine in a process of its own: `python -m distill_eval.bench.worker`, spoken to through a pipe.

It reads a `Start` and then `Job`s from standard input, one per line, and writes `Said`s to standard output. It ends
with its input. SIGINT ends a job, not the process.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

import torch

from distill_eval.bench import generation
from distill_eval.bench.messages import Job, Loaded, Said, Start
from distill_eval.errors import DistillEvalError, ModelError, boundary
from distill_eval.record import from_json, to_json_line

Do = Callable[[Job], None]


class Worker:
    """Loads a model and does what it is told."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._is_interrupted = False

    def interrupt(self) -> None:
        """End the job at the next token or batch."""
        self._is_interrupted = True

    def run(self, lines: TextIO) -> int:
        """Load, then do jobs until the input ends; the exit code."""
        try:
            start = from_json(Start, lines.readline(), source="the first line")
            do = self._load_encoder(start) if start.kind == "encoder" else self._load_generator(start)
            for line in iter(lines.readline, ""):
                do(from_json(Job, line, source="a job"))
                self._is_interrupted = False
                self._say(Said(finished=True))
        except DistillEvalError as error:
            self._say(Said(failed=str(error)))
            return error.exit_code
        return 0

    def _load_generator(self, start: Start) -> Do:
        folder = Path(start.folder)
        if start.kind == "onnx":
            from distill_eval.engine import genai

            model: generation.Generator = genai.load(folder, name=start.name)
            dtype = None
        else:
            from distill_eval.engine import hf

            model = loaded = hf.load(folder, name=start.name, dtype=start.dtype, device=start.device)
            dtype = str(loaded.model.dtype).removeprefix("torch.")
        self._say_loaded("one request at a time, greedy", dtype, model.max_length)
        return partial(self._generate, model)

    def _generate(self, model: generation.Generator, job: Job) -> None:
        assert job.generate is not None
        for index in range(len(job.generate.prompts)):
            if self._is_interrupted:
                return
            self._say(Said(began=index))
            self._say(Said(timing=generation.answer(model, job.generate, index, lambda: self._is_interrupted)))

    def _load_encoder(self, start: Start) -> Do:
        from transformers import AutoTokenizer

        from distill_eval.bench import encoding
        from distill_eval.engine.encoder import GRAPH, Encoder, HFEncoder, OnnxEncoder

        folder, dtype = Path(start.folder), None
        with boundary(ModelError, f"the tokenizer of {start.name} cannot be loaded"):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        if (folder / GRAPH).is_file():
            model: Encoder = OnnxEncoder(folder, start.device)
        else:
            model = loaded = HFEncoder(folder, dtype=start.dtype, device=start.device)
            dtype = loaded.dtype
        max_length = encoding.longest(tokenizer)
        self._say_loaded(model.what, dtype, max_length)

        def do(job: Job) -> None:
            assert job.encode is not None
            found = encoding.run(model, tokenizer, max_length, job.encode, lambda: self._is_interrupted)
            self._say(Said(batches=tuple(found)))

        return do

    def _say_loaded(self, what: str, dtype: str | None, max_length: int | None) -> None:
        num_threads = torch.get_num_threads()
        self._say(Said(loaded=Loaded(what=what, dtype=dtype, max_length=max_length, num_threads=num_threads)))

    def _say(self, said: Said) -> None:
        self._output.write(to_json_line(said))
        self._output.flush()


def main() -> int:
    """Do jobs; what libraries print goes to standard error, so that the pipe is ours alone."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = Worker(output)
    signal.signal(signal.SIGINT, lambda number, frame: worker.interrupt())
    return worker.run(sys.stdin)


if __name__ == "__main__":
    sys.exit(main())
