"""What is known of a distillation before anything is run: the content of `plan.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Finding, Provenance
from distill_eval.schema.student import Shape

SCHEMA = "distill-eval/plan"
SCHEMA_VERSION = 1

Basis = Literal["exact", "estimate", "measured"]
"""`exact` follows from a config by arithmetic; `measured` was timed or weighed on the machine that it is about;
everything else is an `estimate`, with its spread where there is one. A figure is never a mixture called exact."""
Method = Literal["logit", "feature", "attention", "response", "progressive"]
DTYPES = ("fp32", "bf16", "int8", "int4")


@record
class Figure:
    """One number of a plan and where it comes from."""

    name: str
    """Dotted and stable, e.g. `training.peak_bytes`: what a finished run is held against."""
    value: float | None
    unit: str
    """`bytes`, `s`, `tokens`, `FLOP`, `USD`, `share`, ..."""
    low: float | None = None
    """Lower end of the spread of an estimate."""
    high: float | None = None
    basis: Basis
    source: str
    """The formula in words, or the reference; where `value` is `None`, why and what to type."""


@record
class Parts:
    """Parameters by what they are for; a tied head counts as embeddings."""

    embeddings: int
    """Of tokens, positions and segments."""
    attention: int
    feed_forward: int
    norms: int
    head: int
    """The projection to the vocabulary where it is not tied, or to the labels."""
    other: int
    """Of an architecture of which only the total is known by name: everything else."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.embeddings + self.attention + self.feed_forward + self.norms + self.head + self.other


@record
class KvCache:
    """What each running request keeps of its context."""

    num_full_layers: int
    """Layers that keep every token."""
    num_window_layers: int
    """Layers that keep the last `window` tokens alone."""
    window: int | None
    """`None` where every layer keeps every token."""
    bytes_per_token_per_layer: int
    """2 (key and value) x KV heads x head_dim x 2 bytes (bfloat16)."""

    def num_bytes(self, num_tokens: int) -> int:
        """Of one request with so many tokens."""
        near = num_tokens if self.window is None else min(num_tokens, self.window)
        return self.bytes_per_token_per_layer * (self.num_full_layers * num_tokens + self.num_window_layers * near)


@record
class ModelSizes:
    """A model's sizes, from its config alone: all of them exact."""

    name: str
    """Hub name or folder; of a student that does not exist yet what the plan calls it."""
    architecture: str
    """Class name in transformers."""
    config_source: str
    """Where the config comes from: the Hub with its commit, a folder, or the published copy in this package."""
    shape: Shape | None
    """`None` for an architecture that `prepare` cannot make narrower."""
    vocab_size: int
    max_length: int | None
    """Tokens that it takes; `None` where the config does not say."""
    parts: Parts
    weight_bytes: dict[str, int]
    """By dtype (fp32, bf16, int8, int4): int8 and int4 with their scales, embeddings and head in bf16. Those two are
    not there for a model that `quantize` refuses (no linear layers, widths that no group divides)."""
    kv_cache: KvCache | None
    """`None` for a classifier, and for a model whose layers keep something else than keys and values of heads."""


@record
class StudentPlan:
    """One architecture that a student may have."""

    sizes: ModelSizes
    compression: float
    """Parameters of the teacher over those of the student."""
    why: str
    """One sentence."""
    prepare: str
    """The command that makes it."""


@record
class Hardware:
    """What a plan computes on."""

    name: str
    """E.g. `8xA100-80GB`."""
    num_devices: int
    memory_bytes: int
    """Of one device."""
    flops: float
    """Dense bf16 FLOP/s of one device at its peak."""
    bandwidth: float
    """Bytes per second from memory, of one device."""
    price_per_hour: float | None
    """US dollars for all of them, as given by --price-per-hour; none is assumed."""
    source: str
    flops_float32: float | None = None
    """Dense float32 FLOP/s of one device without tensor cores; `None` where it is not known apart."""
    has_bfloat16: bool = True

    def peak_flops(self, dtype: str) -> float:
        """Of one device in `float32` or `bfloat16`."""
        if dtype == "float32" and self.flops_float32 is not None:
            return self.flops_float32
        return self.flops


@record
class Anchor:
    """A published result: a teacher, its student, and what was kept."""

    key: str
    teacher: str
    student: str
    compression: float
    """Parameters of the teacher over those of the student."""
    method: Method
    num_stages: int
    tokens: float | None
    """Training tokens; `None` where the source does not say."""
    benchmark: str
    teacher_score: float | None
    """In percent."""
    student_score: float | None
    retention: float
    """Student over teacher, 0 to 1."""
    fine_tuned: bool = False
    """Both were fine-tuned on the benchmark's tasks before they were scored, as encoders are; else prompted."""
    source: str
    """Address, with table or section."""
    left_out: str | None = None
    """Why the fit does not use it; `None` where it does."""


@record
class Retained:
    """What a student is expected to keep: estimates, side by side, never mixed."""

    rule: Figure
    """The classic planner's rule."""
    fit: Figure
    """Of the anchors, with its prediction interval; no value where those of its kind and method do not reach."""
    fit_text: str
    """Its formula with coefficients, number of anchors, and leave-one-out error of each kind."""
    own: Figure
    """The rule with lambda fitted to the reader's own finished runs; no value without any."""
    tokens: Figure
    """Training tokens by the classic rule."""
    anchors: tuple[Anchor, ...]
    fine_tuned: bool = False
    """Which kind of anchors the student is held against: as `Anchor.fine_tuned`."""


@record
class TaskPlan:
    """What evaluating one task takes, and what it can show."""

    task: str
    num_docs: int
    num_docs_total: int
    num_docs_each: tuple[int, ...] = ()
    """All documents of each task of a group, of which a limit is; of a task itself alone. Empty: an older version
    did not say."""
    num_tokens: Figure
    """That one model reads, as lm-eval renders the task."""
    seconds: Figure
    """Of the teacher and one student together, on this machine."""
    detectable_drop: float | None
    """Smallest true drop that the paired test finds with `power`; `None` with the reason in `reason`."""
    limit_to_detect: int | None
    """Documents that --detect needs; `None` without --detect, or where the task has too few."""
    reason: str | None


@record
class MissingTask:
    """A task that was asked for and of which nothing is known."""

    task: str
    reason: str
    """Why its data cannot be had, and what to type."""


@record
class ServingPlan:
    """Roofline estimates of one model on the hardware, for one dtype and load."""

    model: str
    dtype: str
    num_requests: int
    """At once."""
    input_len: int
    output_len: int
    ttft_ms: Figure
    tpot_ms: Figure
    throughput: Figure
    """Output tokens per second of all requests."""
    max_requests: int | None
    """That the KV cache has room for beside the weights; exact, but for the share of memory that is left to it."""
    cost_per_million: Figure
    """US dollars per million output tokens; no value without --price-per-hour."""


@record
class Plan:
    """Everything that a plan says."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    teacher_ref: ModelRef
    method: Method
    teacher: ModelSizes
    students: tuple[StudentPlan, ...]
    """The proposed one first."""
    assistant: StudentPlan | None = None
    """Of the method `progressive`: taught first, and then the teacher of the student."""
    hardware: Hardware
    training: tuple[Figure, ...]
    """Of the proposed student: memory by part and its peak, FLOPs, time, price, disk."""
    retained: Retained
    evaluation: tuple[TaskPlan, ...]
    """Empty without --tasks."""
    missing_tasks: tuple[MissingTask, ...] = ()
    """Of --tasks those whose data cannot be had; a recipe of the plan leaves them out."""
    serving: tuple[ServingPlan, ...]
    """Teacher and proposed student in turn."""
    findings: tuple[Finding, ...]
    """Advice and warnings, heaviest first."""
    provenance: Provenance


@record
class Check:
    """One figure of a plan beside what was measured."""

    what: str
    """What it is of, for people."""
    planned: Figure
    measured: float | None
    """`None` where nothing recorded it; `source` says why."""
    error: float | None
    """planned / measured - 1; `None` where nothing was measured but 0."""
    inside: bool | None
    """Whether the spread of an estimate holds it; `None` without one."""
    source: str
    """The artifact that it was read from."""
