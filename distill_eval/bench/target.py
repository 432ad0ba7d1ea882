"""What can be put under load: a server behind HTTP, or an engine in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from distill_eval.record import record
from distill_eval.schema.timing import Load, Prompt, RequestTiming


@record
class Rules:
    """How each request is made, the same for every model."""

    timeout_s: float = 600.0
    """After which a request is given up, and counted as cancelled."""
    max_tries: int = 1
    """Tries of a request that the server refuses as busy (HTTP 429 and 503)."""
    temperature: float = 0.0


class Measured(NamedTuple):
    """A load as it went."""

    timings: tuple[RequestTiming, ...]
    """One per prompt that was sent, in the order of the prompts, all of one window."""
    began_s: float
    ended_s: float
    loop_lag_ms: float | None
    """See `Window`."""
    client_cpu: float | None
    interrupted: bool
    """Ctrl-C came: what was in flight is `cancelled`, what was not sent is left out."""
    lost: bool
    """The server is gone: its last requests errored, and what was not sent is left out."""


class Target(Protocol):
    """Satisfied by `bench.client.HttpTarget` and by `bench.local.LocalTarget`."""

    def measure(
        self, load: Load, prompts: Sequence[Prompt], rules: Rules, *, window: int, zero: float, seed: int
    ) -> Measured:
        """Send all prompts by the load's plan and time them.

        Args:
            load: When to send.
            prompts: What to send, in order; in a closed loop the next free stream takes the next one.
            rules: How.
            window: The number that goes into each timing.
            zero: `time.perf_counter()` at the run's begin; all times are counted from it.
            seed: Of the schedule.

        Raises:
            UsageError: this target cannot do this load (an engine without batching has one stream).
        """
        ...
