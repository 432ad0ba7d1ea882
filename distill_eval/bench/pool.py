"""What runs during a benchmark: models are started when they are first needed, and ended with the block."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from distill_eval.bench.entries import Entry

if TYPE_CHECKING:
    from distill_eval.bench.target import Target


class Facts(NamedTuple):
    """What is known of a model once it runs."""

    engine: str
    """`vllm`, `hf`, `onnx` or `endpoint`."""
    engine_version: str | None = None
    device: str = "unknown"
    dtype: str | None = None
    max_model_len: int | None = None
    start_s: float | None = None
    weights_bytes: int | None = None
    rest_bytes: int | None = None
    kv_cache_tokens: int | None = None
    prefix_caching: bool | None = None
    """As a server of somebody else says; what we start has it as we ask."""


class Running(NamedTuple):
    """A model that answers."""

    target: Target
    facts: Facts
    peak_bytes: Callable[[], int | None]
    """Most memory that its processes took so far."""
    last_words: Callable[[], str] = lambda: ""
    """The end of its log, where we have it."""


Open = Callable[[Entry], AbstractContextManager[Running]]


class Pool:
    """Runs all models together, or one at a time; in both cases one alone is loaded."""

    def __init__(self, open_model: Open, *, together: bool) -> None:
        self._open, self._together = open_model, together
        self._stacks: dict[str, ExitStack] = {}
        self._running: dict[str, Running] = {}
        self.facts: dict[str, Facts] = {}
        """Of every model that has run, by name; the first start's."""
        self.peaks: dict[str, int] = {}
        """Most memory seen, in bytes; of models whose processes are ours."""
        self.num_starts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with ExitStack() as all_of_them:  # one that does not end well leaves the others no less ended
            for name in list(self._running):
                all_of_them.callback(self.end, name)

    def get(self, entry: Entry) -> Running:
        """The running model, started if it is not; without room for several, the one that runs is ended first.

        Raises:
            DistillEvalError: it does not start.
        """
        if entry.name in self._running:
            return self._running[entry.name]
        if not self._together:
            for name in list(self._running):
                self.end(name)
        stack = ExitStack()
        found = stack.enter_context(self._open(entry))
        self._stacks[entry.name], self._running[entry.name] = stack, found
        self.facts.setdefault(entry.name, found.facts)
        self.num_starts[entry.name] = self.num_starts.get(entry.name, 0) + 1
        return found

    def end(self, name: str) -> None:
        """End a model; what it took at most is kept."""
        found = self._running.pop(name)
        peak = found.peak_bytes()
        if peak is not None:
            self.peaks[name] = max(peak, self.peaks.get(name, 0))
        self._stacks.pop(name).close()
