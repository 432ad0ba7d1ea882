"""How fast models answer under load: the content of `bench.json`.

Latencies are milliseconds, rates are per second. Definitions: docs/metrics.md, "Serving".
"""

from __future__ import annotations

from distill_eval.record import record
from distill_eval.schema.retention import Provenance
from distill_eval.schema.timing import Load

SCHEMA = "distill-eval/bench"
SCHEMA_VERSION = 1


@record
class Latency:
    """A latency over requests (ITL: over gaps between chunks)."""

    num: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


@record
class LoadMetrics:
    """What was measured in one window, or in all repeats of one load together. Counts first: nothing is merged."""

    num_completed: int
    num_errored: int
    num_cancelled: int
    num_late: int | None
    """Requests sent more than 1 ms after their schedule; `None` but for an open loop."""
    num_retried: int
    duration_s: float
    """From the window's begin (its schedule's, or the first request sent) to the last answer's end; of several windows
    the sum."""
    ttft_ms: Latency | None
    """Time to first token from the send, over completed requests; `None`: there were none."""
    itl_ms: Latency | None
    """Gaps between chunks."""
    tpot_ms: Latency | None
    """(E2EL - TTFT) / (output tokens - 1), over completed requests of at least two tokens."""
    e2el_ms: Latency | None
    """From the send to the last chunk."""
    scheduled_ttft_ms: Latency | None
    """TTFT from the time that the schedule had the request sent; `None` without a schedule."""
    scheduled_e2el_ms: Latency | None
    request_throughput: float | None
    """Completed requests per second; `None`: none completed."""
    output_throughput: float | None
    """Output tokens per second."""
    total_throughput: float | None
    """Prompt and output tokens per second."""
    goodput: float | None
    """Completed requests per second that kept every limit of `--goodput`; `None`: no limit was given."""
    peak_concurrency: int
    """Most requests in flight at one time."""
    num_prompt_tokens: int
    num_output_tokens: int
    """By the server's usage; by the tokenizer where it sent none."""
    num_count_mismatches: int | None
    """Completed answers whose text has another number of tokens than usage says; `None`: not checked."""
    reasons: dict[str, int]
    """Why requests did not complete, and how many."""


@record
class Ratio:
    """How many times as fast as the baseline: the geometric mean over repeats of ratios in the same repeat."""

    value: float
    ci_low: float | None
    """Of 95 %; `None` with fewer than three repeats."""
    ci_high: float | None
    pairs: tuple[float, ...]
    """Each repeat's."""

    @property
    def is_slower(self) -> bool:
        """Whether its interval lies below 1; without an interval, whether it does itself."""
        return (self.value if self.ci_high is None else self.ci_high) < 1


@record
class LoadResult:
    """One model under one load."""

    load: Load
    metrics: LoadMetrics
    """Of all its repeats together."""
    output_throughput_speedup: Ratio | None
    """`None` for the baseline itself, and with the reason in `unmeasured`."""
    tpot_speedup: Ratio | None
    """Baseline's median TPOT over this model's: above 1 is faster."""
    ttft_speedup: Ratio | None
    unmeasured: str | None = None
    """Why speedups are `None`."""


@record
class ClassifierResult:
    """A classifier or an encoder on batches of one size."""

    batch_size: int
    what: str
    """What was run, e.g. `BertForSequenceClassification, logits`."""
    texts_per_second: float
    """Over all repeats together, tokenization included."""
    batch_ms: Latency
    """From the texts of a batch to its outputs, over batches."""
    tokenize_share: float
    """Share of that time that went into tokenization."""
    speedup: Ratio | None
    """Texts per second over the baseline's; `None` for the baseline itself, and where it has no repeat in common."""
    noise: Ratio | None
    """The baseline's second turn over its first, what a ratio of 1 looks like; `None` for all others."""


@record
class RateTried:
    """One rate of a sweep."""

    request_rate: float
    good_share: float
    """Requests that kept every limit of `--goodput`, of all that were sent."""
    output_throughput: float | None


@record
class Sweep:
    """The highest request rate at which enough requests keep the limits."""

    wanted_share: float
    highest_rate: float | None
    """Highest rate at which the share was kept; `None`: not even at the lowest tried."""
    lowest_failed: float | None
    """Lowest rate above it at which it was not; `None`: the search ended before one failed."""
    tried: tuple[RateTried, ...]
    """In the order of the rates."""


@record
class Memory:
    """What a server or an engine takes, in bytes."""

    weights_bytes: int | None
    """Weight files on disk; `None` at an endpoint of somebody else."""
    rest_bytes: int | None
    """Of the server's processes once healthy (resident, shared pages counted once; on a GPU its memory)."""
    peak_bytes: int | None
    """Most of what was seen while it was under load, twice a second."""
    kv_cache_tokens: int | None
    """Tokens for which the server has room for keys and values; `None` where it does not say."""


@record
class BenchedModel:
    """A model, what ran it, and what it did under each load."""

    name: str
    ref: str
    engine: str
    engine_version: str | None
    device: str
    dtype: str | None
    quantization: str | None
    max_model_len: int | None
    prefix_caching: bool | None
    start_s: float | None
    """From the command to a healthy server (a loaded model); `None` at an endpoint of somebody else."""
    memory: Memory
    energy_j: float | None
    energy_reason: str | None
    """Why there is no energy."""
    results: tuple[LoadResult, ...]
    sweep: Sweep | None = None
    """`None`: not asked for."""
    classifier_results: tuple[ClassifierResult, ...] = ()
    """Of a classifier or an encoder, which has no `results`: one per batch size."""


@record
class NoiseFloor:
    """The baseline against itself: what a ratio of 1 looks like on this machine."""

    load: Load
    ratio: Ratio
    """Of what the load's speedups are of: output throughput, and of an open loop the time per token."""


@record
class PromptSource:
    """What was sent."""

    kind: str
    """`random`, `prefix`, `sharegpt`, `sonnet`, `hf` or `trace`."""
    num_prompts: int
    """Per window at the least concurrency."""
    num_prompt_tokens: tuple[int, int]
    """Fewest and most."""
    max_tokens: tuple[int, int]
    ignore_eos: bool
    seed: int
    digest: str
    """SHA-256 over the prompts in order."""


@record
class BenchRun:
    """A whole benchmark: one or more models under the same loads."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    models: tuple[BenchedModel, ...]
    """The first is the baseline."""
    loads: tuple[Load, ...]
    num_repeats: int
    prompts: PromptSource
    goodput: dict[str, float]
    """Limits in milliseconds by metric: `ttft`, `tpot`, `e2el`."""
    noise: tuple[NoiseFloor, ...]
    findings: tuple[str, ...]
    """What a reader has to know before the numbers, heaviest first."""
    complete: bool
    """False: it ended before all windows were measured."""
    provenance: Provenance
