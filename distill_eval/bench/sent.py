"""What a benchmark sends: the prompts of each load and repeat, the same for every model."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from distill_eval.bench.config import BenchConfig
from distill_eval.bench.endpoint import check
from distill_eval.bench.entries import Entry
from distill_eval.bench.plan import MAX_WARMUP
from distill_eval.bench.prompts import check_contexts, draw, source
from distill_eval.bench.session import WARMUP, turn_name
from distill_eval.bench.tokenizer import load
from distill_eval.errors import ModelError, UsageError, boundary, require
from distill_eval.schema.bench import PromptSource
from distill_eval.schema.model import ModelRef
from distill_eval.schema.timing import Load, Prompt

ROOM = 1.25
"""A context so many times the longest request: models of another tokenizer have other counts."""
ALIGNED = 64
NO_LIMIT = 1 << 30
"""Context of a model that does not say one."""


class Sent:
    """Draws prompts once, and knows how long a context they need."""

    def __init__(self, config: BenchConfig, rows: Sequence[Entry], say: Callable[[str], None]) -> None:
        """Nothing is drawn yet.

        Raises:
            ModelError: the tokenizer of the first model cannot be had.
        """
        self._config, self._rows, self._say = config, rows, say
        self.max_model_len = 0
        """Of the servers; see `check`."""
        self.draw = functools.cache(self._draw)
        self._tokenizer = _tokenizer(config, rows[0])

    def check(self, loads: Sequence[Load]) -> None:
        """Draw everything, and find the context that it needs.

        Raises:
            UsageError: there are no such prompts, or a model's context is shorter than one and its answer.
        """
        prompts = [
            prompt
            for load in loads or (self._config.load.open_load(1.0),)
            for name in self._turns()
            for prompt in self.draw(load, name)
        ]
        contexts = {row.name: self._context(row) for row in self._rows}
        check_contexts(prompts, contexts)
        longest = max(prompt.num_tokens + prompt.max_tokens for prompt in prompts)
        asked = self._config.max_model_len
        require(
            asked is None or longest <= asked,
            f"--max-model-len {asked}: the longest request has {longest} tokens with its answer",
        )
        needed = -(-int(longest * ROOM) // ALIGNED) * ALIGNED
        self.max_model_len = asked or min(needed, *contexts.values())

    def source(self, loads: Sequence[Load]) -> PromptSource:
        """What is sent in the first repeat of the first load."""
        load = loads[0] if loads else self._config.load.open_load(1.0)
        prompts = self.draw(load, turn_name("measured", 0))
        return source(self._config.prompts.dataset_name, prompts, ignore_eos=load.ignore_eos, seed=self._config.seed)

    def count_tokens(self, row: Entry) -> Callable[[str], int] | None:
        """Counts the tokens of an answer's text by a model's own tokenizer."""
        tokenizer = self._tokenizer if row == self._rows[0] else _tokenizer(self._config, row)
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def _turns(self) -> list[str]:
        again = [turn_name("measured", repeat, again=True) for repeat in range(self._config.repeats)]
        first = [turn_name("measured", repeat) for repeat in range(self._config.repeats)]
        return [*(turn_name("warmup", WARMUP - number) for number in range(MAX_WARMUP)), *first, *again]

    def _draw(self, load: Load, name: str) -> tuple[Prompt, ...]:
        num = self._config.num_prompts_of(load, is_sweep=name.startswith("sweep"))
        seed = zlib.crc32(f"{self._config.seed} {load.label} {name}".encode())
        return draw(self._config.prompts, self._tokenizer, num, seed, say=self._say)

    def _context(self, row: Entry) -> int:
        if row.address is not None:
            served = check(row.address, row.ref, os.environ.get(self._config.api_key_variable))
            return served.max_model_len or self._config.max_model_len or NO_LIMIT
        assert row.folder is not None
        from distill_eval.engine.load import Found, read_facts  # not where a server of somebody else is measured

        facts = read_facts(Found(ModelRef.parse(row.ref), row.folder, "onnx" if row.runner == "onnx" else "hf"))
        return facts.max_length or NO_LIMIT


def _tokenizer(config: BenchConfig, row: Entry) -> Any:
    where = str(row.folder) if row.folder is not None else config.tokenizer or row.ref
    try:
        with boundary(ModelError, f"cannot load the tokenizer of {row.name} from {where}"):
            return load(where)
    except ModelError as error:
        if row.folder is None and config.tokenizer is None:
            raise UsageError(
                f"{error}. It counts the tokens of prompts: name the model's with --tokenizer, a Hub name or folder"
            ) from error
        raise
