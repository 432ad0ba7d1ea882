"""Batches of texts through a classifier or an encoder in this process, timed one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

from distill_eval.bench.messages import BatchTiming, Encode
from distill_eval.engine.encoder import Encoder

_NO_LIMIT = 10**9
"""A tokenizer that knows no longest text says a number beyond this."""


def longest(tokenizer: Any) -> int | None:
    """Tokens of the longest text, which longer ones are cut to; `None` where the tokenizer says none."""
    length = int(tokenizer.model_max_length)
    return length if length < _NO_LIMIT else None


def run(
    model: Encoder, tokenizer: Any, max_length: int | None, job: Encode, is_interrupted: Callable[[], bool]
) -> Iterator[BatchTiming]:
    """Each batch from its texts to its outputs, padded to its longest text.

    Args:
        model: Loaded.
        tokenizer: Its own.
        max_length: Tokens that longer texts are cut to.
        job: What is asked.
        is_interrupted: Asked before every batch; whether to end.
    """
    texts = cycle(job.texts)
    for _ in range(job.num_batches):
        if is_interrupted():
            return
        batch = list(islice(texts, job.batch_size))
        begin = time.perf_counter()
        encoded = tokenizer(
            batch, padding=True, truncation=max_length is not None, max_length=max_length, return_tensors="pt"
        )
        tokenized = time.perf_counter()
        model.run(encoded)
        yield BatchTiming(tokenize_s=tokenized - begin, seconds=time.perf_counter() - begin)
