"""A server under load: an asynchronous HTTP client that takes times at once, and reads what came after the window."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Literal

import numpy as np

from distill_eval.bench.answer import read_answer
from distill_eval.bench.arrivals import offsets
from distill_eval.bench.endpoint import headers_of, root_of
from distill_eval.bench.flight import Exchange, Flight, Plan
from distill_eval.bench.target import Measured, Rules
from distill_eval.errors import require
from distill_eval.schema.timing import Load, Prompt, RequestTiming, Status

Api = Literal["completions", "chat"]
_PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_OTHER_FILES = 256
"""Open files of this process besides the connections of a load."""


class HttpTarget:
    """A model of an OpenAI-compatible server; satisfies `Target`."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        api: Api = "completions",
        key: str | None = None,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        """Nothing is sent yet; ask `endpoint.check` first.

        Args:
            address: Of the server, e.g. `http://127.0.0.1:8000`.
            model: Its name there.
            api: Which of the interfaces is asked.
            key: Sent as `Authorization: Bearer`.
            count_tokens: Tokens of an answer's text, by the model's tokenizer; used after the window.
        """
        self._root, self._model, self._api, self._count = root_of(address), model, api, count_tokens
        self._headers = headers_of(key)

    def measure(
        self, load: Load, prompts: Sequence[Prompt], rules: Rules, *, window: int, zero: float, seed: int
    ) -> Measured:
        """See `Target`. Ctrl-C while the window is open ends it; what was measured is returned.

        Raises:
            UsageError: a trace without times, or more requests at once than the machine has files.
        """
        plan = Plan(
            root=self._root,
            url=self._root + _PATHS[self._api],
            headers=self._headers | {"Content-Type": "application/json", "Accept-Encoding": "identity"},
            bodies=tuple(self._body(load, prompt, rules) for prompt in prompts),
            offsets=offsets(load, prompts, seed),
            concurrency=load.concurrency,
            rules=rules,
        )
        if load.kind != "closed":
            _make_room(len(prompts))
        flight = Flight(plan)
        with _no_garbage_collection():
            interrupted = _run(flight)
        closed = flight.closed or time.perf_counter()
        timings = [
            self._timing(exchange, prompts[exchange.index], flight, closed, window=window, zero=zero)
            for exchange in sorted(flight.exchanges, key=lambda exchange: exchange.index)
        ]
        return Measured(
            timings=tuple(timings),
            began_s=flight.began - zero,
            ended_s=closed - zero,
            loop_lag_ms=float(np.percentile(flight.lateness, 99)) * 1e3 if flight.lateness else None,
            client_cpu=flight.cpu_share,
            interrupted=interrupted,
            lost=flight.lost,
        )

    def _body(self, load: Load, prompt: Prompt, rules: Rules) -> bytes:
        body = {
            "model": self._model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": rules.temperature,
        }
        if self._api == "chat":
            body |= {"messages": [{"role": "user", "content": prompt.text}], "max_completion_tokens": prompt.max_tokens}
        else:
            body |= {"prompt": prompt.text, "max_tokens": prompt.max_tokens}
        if load.ignore_eos:
            # vLLM's field. Not `min_tokens` too: it forbids tokens at each step, work that nobody asks for otherwise.
            body["ignore_eos"] = True
        return json.dumps(body).encode()

    def _timing(
        self, exchange: Exchange, prompt: Prompt, flight: Flight, closed: float, *, window: int, zero: float
    ) -> RequestTiming:
        answer = read_answer(exchange.stamps, exchange.reads)
        exchange.reads.clear()
        status, reason = _outcome(exchange, answer.fault, flight.lost)
        counted = self._count is not None and status == "completed"
        return RequestTiming(
            window=window,
            index=exchange.index,
            scheduled_s=None if exchange.scheduled is None else exchange.scheduled - zero,
            sent_s=exchange.sent - zero,
            chunk_s=tuple(stamp - zero for stamp in answer.chunk_s),
            ended_s=(closed if exchange.ended is None else exchange.ended) - zero,
            status=status,
            reason=reason,
            num_tries=exchange.num_tries,
            max_tokens=prompt.max_tokens,
            num_prompt_tokens=prompt.num_tokens,
            usage_prompt_tokens=answer.usage_prompt_tokens,
            usage_completion_tokens=answer.usage_completion_tokens,
            text_tokens=self._count(answer.text) if counted and self._count is not None else None,
            finish_reason=answer.finish_reason,
        )


def _outcome(exchange: Exchange, fault: str | None, lost: bool) -> tuple[Status, str | None]:
    """What became of a request: what happened on the way counts before what its stream holds."""
    if exchange.outcome is not None:
        return exchange.outcome
    if exchange.ended is None:
        return ("errored", "the server is gone") if lost else ("cancelled", "interrupted")
    return ("errored", fault) if fault is not None else ("completed", None)


def _run(flight: Flight) -> bool:
    """Measure; whether Ctrl-C came. The loop's runner turns it into a cancellation of all that is in flight."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(flight.fly())
    except KeyboardInterrupt:
        return True
    return False


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed: a chunk costs a sixth less there."""
    if find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop


def _make_room(num_connections: int) -> None:
    """Let this process hold a connection for each request: the usual limit is 1,024 open files."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = num_connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and needed > soft:
        require(
            hard == resource.RLIM_INFINITY or needed <= hard,
            f"{num_connections} requests at once need as many open files, and this machine allows {hard}: type "
            f"--num-prompts {max(1, hard - _OTHER_FILES)} or fewer",
        )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A full collection stops the loop for tens of milliseconds once a tokenizer or a model is in memory."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
