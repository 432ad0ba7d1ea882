"""One request to an engine in this process, timed token by token."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from distill_eval.bench.messages import Generate
from distill_eval.errors import DistillEvalError
from distill_eval.schema.timing import RequestTiming, Status

INTERRUPTED = "interrupted"
_REASON_LENGTH = 200


class Generator(Protocol):
    """What answers prompts: `HFModel` and `GenaiModel`."""

    tokenizer: Any
    max_length: int

    def greedy_each(
        self, ids_T: Sequence[int], num_tokens: int, each: Callable[[int], bool], *, ignore_eos: bool = False
    ) -> None:
        """See `HFModel.greedy_each`."""
        ...


class _Answer:
    """A continuation as it grows."""

    def __init__(self, job: Generate, is_interrupted: Callable[[], bool]) -> None:
        self._timeout_s, self._is_interrupted = job.timeout_s, is_interrupted
        self.times: list[float] = []
        self.num_prompt_tokens: int | None = None
        self.given_up: str | None = None
        self.error: str | None = None
        self.sent = time.perf_counter()

    def each(self, token: int) -> bool:
        """A token is there; whether to go on."""
        del token
        self.times.append(time.perf_counter())
        if self._is_interrupted():
            self.given_up = INTERRUPTED
        elif self.times[-1] - self.sent >= self._timeout_s:
            self.given_up = f"time limit of {self._timeout_s:g} s"
        return self.given_up is None

    def outcome(self, max_tokens: int) -> tuple[Status, str | None]:
        """How it ended, and why if not well."""
        if self.error is not None or not self.times:
            return "errored", self.error or "no token came"
        if self.given_up is not None and len(self.times) < max_tokens:
            return "cancelled", self.given_up
        return "completed", None


def answer(model: Generator, job: Generate, index: int, is_interrupted: Callable[[], bool]) -> RequestTiming:
    """The most likely continuation of a prompt, from its text to its last token.

    Time runs while the prompt is tokenized, as it does on a server; tokens are not turned into text.

    Args:
        model: Loaded.
        job: What is asked.
        index: Number of the prompt.
        is_interrupted: Asked at every token; whether to give up.
    """
    prompt, going = job.prompts[index], _Answer(job, is_interrupted)
    try:
        ids = model.tokenizer(prompt.text, verbose=False)["input_ids"]
        going.num_prompt_tokens = len(ids)
        model.greedy_each(ids, prompt.max_tokens, going.each, ignore_eos=job.ignore_eos)
    except DistillEvalError as error:
        going.error = str(error)[:_REASON_LENGTH]
    ended = time.perf_counter()
    status, reason = going.outcome(prompt.max_tokens)
    finish = "length" if len(going.times) == prompt.max_tokens else "stop"
    return RequestTiming(
        window=job.window,
        index=index,
        scheduled_s=None,
        sent_s=going.sent - job.zero,
        chunk_s=tuple(moment - job.zero for moment in going.times),
        ended_s=ended - job.zero,
        status=status,
        reason=reason,
        num_tries=1,
        max_tokens=prompt.max_tokens,
        num_prompt_tokens=prompt.num_tokens,
        usage_prompt_tokens=going.num_prompt_tokens,
        usage_completion_tokens=len(going.times),
        text_tokens=None,
        finish_reason=finish if status == "completed" else None,
    )
