"""What artifacts of one teacher and its variants say together: the content of `report.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.bench import Ratio
from distill_eval.schema.gate import RuleResult
from distill_eval.schema.retention import Estimate, Finding, Provenance, Verdict

SCHEMA = "distill-eval/report"
SCHEMA_VERSION = 1

SET_RATE = "at a set rate of requests throughput is that rate; the times tell"
"""`Speed.reason` of a load that has no speedup to judge, as opposed to one that was not measured."""

Role = Literal["teacher", "student", "baseline"]
Kind = Literal["retention", "fidelity", "bench", "distill", "student", "quant", "export", "plan", "run"]
"""`run` is no source of numbers, only of the recipe: a run.json is written again after its report."""


@record
class Source:
    """An artifact that numbers come from."""

    kind: Kind
    path: str
    """As found: relative to the run folder that was named, with that folder's name in front."""
    digest: str
    """SHA-256 of the file."""
    command: str | None
    """That made it; `None` where it does not say."""


@record
class Speed:
    """One variant under one load."""

    load: str
    """Its label, e.g. `concurrency 4`."""
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    tpot_p50_ms: float | None
    tpot_p99_ms: float | None
    output_throughput: float | None
    """Output tokens per second; of a classifier texts per second."""
    speedup: Ratio | None
    """Of the output throughput over the teacher's; `None` for the teacher itself, and with a reason."""
    reason: str | None = None
    """Why `speedup` is `None`."""
    latency_p50_ms: float | None = None
    """One text, from the text to the label, of a classifier as its training timed it; else `None`."""
    latency_p95_ms: float | None = None


@record
class Variant:
    """A row of the table: one model folder, whatever measured it."""

    name: str
    """Short and unique in the report."""
    ref: str
    """As its artifacts name it."""
    role: Role
    engine: str | None
    """That scored it: `hf`, `onnx` or `vllm`."""
    bench_engine: str | None
    """That was measured for speed."""
    quantization: str | None
    num_parameters: int | None
    size_bytes: int | None
    """Of its weight files."""
    size_ratio: float | None
    """Over the teacher's bytes."""
    retention: Estimate
    """Mean over tasks (primary entries), with an interval."""
    worst_task: str | None
    worst_retention: Estimate
    retention_above_chance: Estimate
    """Mean over the tasks that have a chance level."""
    gap_recovered: Estimate
    """Mean over tasks, of a student with a baseline."""
    kl: Estimate
    """Mean KL(teacher || variant) in nats per token."""
    top1_agreement: Estimate
    """Share of positions, 0 to 1."""
    speeds: tuple[Speed, ...]
    """By load, in the order of the benchmark; empty where none measured it."""
    peak_bytes: int | None
    """Most memory of its server or engine under load; of a classifier that its training alone measured, what a fresh
    process holds after its requests."""
    verdict: Verdict | None
    """`None` for the teacher, and for what no comparison has judged."""
    on_frontier: bool | None
    """Whether no other variant is at least as good in size, speed and retention and better in one; `None`: one of
    the three was not measured."""
    reasons: dict[str, str]
    """By the name of a field above that is `None` or empty: why, for the footnote. An `Estimate` has its own."""


@record
class Report:
    """One teacher, its variants, everything that was measured of them."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    verdict: str
    """The sentence that comes first: what to ship and why, or why nothing; plain text."""
    ship: str | None
    """Name of the variant that it recommends."""
    variants: tuple[Variant, ...]
    """The teacher first."""
    load: str | None
    """Label of the load whose speedups stand in the table and decide the frontier: the largest concurrency."""
    gate: tuple[RuleResult, ...]
    """Rules that were asked for, with how they were judged; empty without any."""
    findings: tuple[Finding, ...]
    """What a reader must know before believing the table, heaviest first."""
    recipe: str | None
    """The recipe that was run, verbatim."""
    sources: tuple[Source, ...]
    provenance: Provenance
    """Of this report; those of what was measured are in the artifacts."""
