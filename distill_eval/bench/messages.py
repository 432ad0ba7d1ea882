"""What an engine's process and we say to each other: one record of JSON per line."""

from __future__ import annotations

from typing import Literal

from distill_eval.engine import Dtype
from distill_eval.record import record
from distill_eval.schema.timing import Prompt, RequestTiming

Kind = Literal["hf", "onnx", "encoder"]
"""transformers, ONNX Runtime GenAI, and either of transformers and ONNX Runtime for models that read whole texts."""


@record
class Start:
    """The first thing said to a process: what to load."""

    folder: str
    name: str
    """As the user knows it, for messages."""
    kind: Kind
    dtype: Dtype
    device: str


@record
class Loaded:
    """The model is ready."""

    what: str
    """What is run, for people."""
    dtype: str | None
    """`None` where the engine does not say."""
    max_length: int | None
    """Tokens that it reads at most."""
    num_threads: int


@record
class Generate:
    """Answer these prompts, one after the other."""

    prompts: tuple[Prompt, ...]
    ignore_eos: bool
    timeout_s: float
    window: int
    zero: float
    """`time.perf_counter()` at the run's begin; one clock for all processes of a machine."""


@record
class Encode:
    """Run batches of these texts, from the first again when they are used up."""

    texts: tuple[str, ...]
    batch_size: int
    num_batches: int


@record
class BatchTiming:
    """One batch of texts."""

    tokenize_s: float
    seconds: float
    """Tokenization included."""


@record
class Job:
    """What is said to a process that has loaded; one of the two."""

    generate: Generate | None = None
    encode: Encode | None = None


@record
class Said:
    """What a process says; one of these."""

    loaded: Loaded | None = None
    failed: str | None = None
    """Why it cannot go on; its last word."""
    began: int | None = None
    """The request of this number begins."""
    timing: RequestTiming | None = None
    """A request has ended."""
    batches: tuple[BatchTiming, ...] | None = None
    finished: bool = False
    """The job has ended; with requests left when it was interrupted."""
