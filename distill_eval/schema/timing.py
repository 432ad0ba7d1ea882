"""What a load measured, request by request: the rows of `timings.parquet`. Every metric is computed from them.

All times are seconds of one monotonic clock, counted from the start of the run (`Window` says which part of it).
"""

from __future__ import annotations

from typing import Literal

from distill_eval.errors import require
from distill_eval.record import record

Status = Literal["completed", "errored", "cancelled"]
"""`completed`: the answer ended as it should; `errored`: it did not; `cancelled`: we ended it (time limit, Ctrl-C)."""
Phase = Literal["warmup", "measured", "sweep"]
LoadKind = Literal["closed", "open", "offline"]
Arrival = Literal["poisson", "constant", "gamma", "trace"]


@record
class Load:
    """How requests are sent."""

    kind: LoadKind
    """`closed`: so many streams, each sends its next request when the last is answered; `open`: at set times, whatever
    was answered; `offline`: all at once."""
    concurrency: int | None = None
    """Streams of a closed loop."""
    request_rate: float | None = None
    """Requests per second of an open loop, on average."""
    arrival: Arrival = "poisson"
    """How the times between requests of an open loop are drawn; `trace` takes those of the prompts."""
    burstiness: float = 1.0
    """Shape of the gamma distribution: 1 is Poisson, below 1 comes in bursts, above 1 is more even (as in vLLM)."""
    ignore_eos: bool = True
    """Answers have the full length, so that all models do the same work; False: models stop by themselves."""

    def __post_init__(self) -> None:
        closed, opened = self.kind == "closed", self.kind == "open"
        require((self.concurrency is not None) == closed, f"a {self.kind} load has concurrency {self.concurrency}")
        require(
            (self.request_rate is not None) == (opened and self.arrival != "trace"),
            f"a {self.kind} load has a request rate of {self.request_rate}",
        )

    @property
    def label(self) -> str:
        """E.g. `concurrency 4`, `2 req/s (poisson)`, `offline`, `concurrency 4, own length`."""
        return self._sending() + ("" if self.ignore_eos else ", own length")

    def _sending(self) -> str:
        if self.kind == "closed":
            return f"concurrency {self.concurrency}"
        if self.kind == "offline" or self.arrival == "trace":
            return "offline" if self.kind == "offline" else "trace"
        shape = f"gamma {self.burstiness:g}" if self.arrival == "gamma" else self.arrival
        return f"{self.request_rate:g} req/s ({shape})"


@record
class Prompt:
    """A request, before it is sent; the same for every model of a comparison."""

    text: str
    num_tokens: int
    """By the first model's tokenizer."""
    max_tokens: int
    """Output tokens asked for."""
    offset_s: float | None = None
    """When a trace sends it, from the trace's begin."""


@record
class RequestTiming:
    """One request as it went. Times that were not reached are `None`."""

    window: int
    """Number of the `Window` it belongs to."""
    index: int
    """Number of the prompt in its window."""
    scheduled_s: float | None
    """When the schedule had it sent; `None` in a closed loop, which has no schedule."""
    sent_s: float
    """When its first try was handed to the network."""
    chunk_s: tuple[float, ...]
    """When each chunk with an answer's text arrived; a chunk may hold several tokens."""
    ended_s: float
    """When the answer was complete, or the request given up."""
    status: Status
    reason: str | None
    """Why it did not complete, e.g. `HTTP 503`, `time limit of 60 s`, `connection closed`."""
    num_tries: int
    """1, unless the server was busy and retries were asked for."""
    max_tokens: int
    num_prompt_tokens: int
    """By our tokenizer."""
    usage_prompt_tokens: int | None
    """By the server's usage."""
    usage_completion_tokens: int | None
    text_tokens: int | None
    """Tokens of the answer's text by the model's own tokenizer, a check of the server's count; `None`: not counted."""
    finish_reason: str | None
    """What the server said, e.g. `length`, `stop`."""


@record
class Window:
    """One load on one model, once."""

    number: int
    model: str
    """Name in the table."""
    engine: str
    """`vllm`, `hf`, `onnx` or `endpoint`."""
    load: Load
    repeat: int
    """From 0; all models are measured once in each."""
    phase: Phase
    again: bool = False
    """The first model measured a second time in its repeat, for the noise floor."""
    began_s: float
    ended_s: float
    complete: bool = True
    """False: Ctrl-C or the server's end cut it short, so that it tells no rate."""
    loop_lag_ms: float | None = None
    """99th percentile of how late the client's own event loop ran; `None` without one."""
    client_cpu: float | None = None
    """Share of one core that the client's process used; `None`: not measured."""
