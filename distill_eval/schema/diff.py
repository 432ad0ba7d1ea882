"""What changed from one run to the next: the content of `diff.json`."""

from __future__ import annotations

from distill_eval.record import record
from distill_eval.schema.bench import Ratio
from distill_eval.schema.gate import RuleResult
from distill_eval.schema.retention import Estimate, Finding, Flips, Outcome, Provenance, Verdict

SCHEMA = "distill-eval/diff"
SCHEMA_VERSION = 1


@record
class TaskChange:
    """The student after against the student before, on one task (or group) that both verdicts rest on."""

    task: str
    metric: str
    filter: str
    unit: str
    higher_is_better: bool
    num_tasks: int
    num_docs_before: int
    num_docs_after: int
    num_pairs: int | None
    """Documents that both students answered, on which they are paired; `None`: not paired, see `reason`."""
    before: Estimate
    """The score; where they are paired, on those documents."""
    after: Estimate
    difference: Estimate
    """After minus before. Paired; else of two independent estimates, which is wider where the documents were the
    same."""
    retention_before: Estimate
    """Of the teacher, on all documents of the run."""
    retention_after: Estimate
    test: str | None
    """What gave `p_value`: a paired test, or the interval of `independent estimates`."""
    p_value: float | None
    p_adjusted: float | None
    """Holm-adjusted over the tasks of this student."""
    outcome: Outcome | None
    """Whether the student after is better or worse where `p_adjusted` is below 1 - level, else `unclear`; `None`
    without a test."""
    flips: Flips | None
    """Harmful: right before, wrong after."""
    reason: str | None
    """Why they are not paired."""


@record
class SpeedChange:
    """Under one load, both speedups over the teacher of their own benchmark."""

    load: str
    before: Ratio | None
    after: Ratio | None
    output_throughput_before: float | None
    """Output tokens per second."""
    output_throughput_after: float | None


@record
class StudentChange:
    """One student, before and after."""

    name: str
    """Short; of a student that was renamed, `before to after`."""
    ref_before: str
    ref_after: str
    num_parameters_before: int | None
    num_parameters_after: int | None
    size_bytes_before: int | None
    size_bytes_after: int | None
    retention_before: Estimate
    """Of the teacher: the mean over the tasks of its run."""
    retention_after: Estimate
    retention_apart: str | None
    """Why no step is given from one to the other; `None`: they are means over the same tasks and documents."""
    verdict_before: Verdict | None
    verdict_after: Verdict | None
    kl_before: Estimate
    """Mean KL(teacher || student) in nats per token."""
    kl_after: Estimate
    speeds: tuple[SpeedChange, ...]
    tasks: tuple[TaskChange, ...]


@record
class Side:
    """One of the two runs."""

    path: str
    """As typed."""
    digest: str
    """SHA-256 over the digests of the files that were read."""
    teacher: str


@record
class Diff:
    """Two runs of the same teacher."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    before: Side
    after: Side
    level: float
    """Of every interval."""
    students: tuple[StudentChange, ...]
    gate: tuple[RuleResult, ...]
    """Rules that were asked for, with how they were judged; empty without any."""
    findings: tuple[Finding, ...]
    """What is not compared, and what differs besides the students."""
    provenance: Provenance
