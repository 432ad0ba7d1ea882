"""What a student kept of its teacher: the content of `retention.json`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from distill_eval.record import record
from distill_eval.schema.evals import Manifest, MetricKind
from distill_eval.schema.looks import Adaptive
from distill_eval.schema.model import ModelFacts

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Outcome = Literal["better", "worse", "unclear"]
Weight = Literal["high", "medium", "low"]
WORST_FIRST: tuple[Verdict, ...] = ("FAIL", "INCONCLUSIVE", "PASS")
WEIGHTS: tuple[Weight, ...] = ("high", "medium", "low")
"""Of findings, the heaviest first."""


def worst(verdicts: Collection[Verdict | None]) -> Verdict | None:
    """What several verdicts are together: PASS only if all that are there are; `None` without any."""
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), None)


SCHEMA = "distill-eval/retention"
SCHEMA_VERSION = 3


@record
class Estimate:
    """A number with its uncertainty; `None` fields carry a `reason`."""

    value: float | None
    stderr: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    reason: str | None = None
    """Why a field is `None`."""


@record
class Flips:
    """Documents whose correctness changed from teacher to student (0/1 metrics)."""

    num_harmful: int
    """Teacher right, student wrong. Right is a score of 1, or of 0 where lower is better."""
    num_beneficial: int
    """Teacher wrong, student right."""
    num_wrong_to_other_wrong: int | None
    """Both wrong with different answers; `None` where the answers are not known."""


@record
class Criterion:
    """What a student must show on every task: one of the two is set."""

    min_retention: float | None
    """PASS needs student - min_retention * teacher above 0 (of scores where higher is better)."""
    margin: float | None
    """PASS needs student - teacher + margin above 0, in the metric's own unit."""
    level: float
    """Level of every confidence interval, e.g. 0.95."""


DEFAULT_MIN_RETENTION = 0.95
DEFAULT_LEVEL = 0.95
DEFAULT = Criterion(min_retention=DEFAULT_MIN_RETENTION, margin=None, level=DEFAULT_LEVEL)
"""What is asked of a student where nobody says otherwise."""


@record
class Power:
    """What this comparison can see."""

    power: float
    """The power at which the drops below are stated, e.g. 0.8."""
    planned_detectable_drop: float | None
    """Before the run: the smallest true drop that the paired test finds with that power, for an assumed discordance."""
    planned_discordance: float | None
    """The share of documents on which teacher and student were assumed to disagree."""
    detectable_drop: float | None
    """After the run: the same from the variance of the paired differences seen."""
    num_docs_to_settle: int | None
    """For INCONCLUSIVE: documents needed *in all* for a verdict if the estimate stays where it is; else `None`."""
    reason: str | None = None


@record
class Bought:
    """What distillation bought on one task: the student against its baseline, the same trained without a teacher."""

    baseline_ref: str
    baseline: Estimate
    """The baseline's score."""
    difference: Estimate
    """Student minus baseline."""
    gap: Estimate
    """Teacher minus baseline: what there was to recover."""
    gap_recovered: Estimate
    """(student - baseline) / (teacher - baseline): 0 bought nothing, 1 all that the baseline lacks."""
    test: str | None
    """The paired test of student against baseline that gave `p_value`."""
    p_value: float | None
    p_adjusted: float | None
    """Holm-adjusted over the primary entries of this student."""
    outcome: Outcome | None
    """Whether the student is better or worse than its baseline where `p_adjusted` is below 1 - level, else `unclear`;
    `None` without a test."""


@record
class Entry:
    """One student against the teacher, on one task (or group) under one metric."""

    student_ref: str
    task: str
    metric: str
    """As lm-eval names it, e.g. `acc_norm`; `bits_per_byte` carries the verdict of any perplexity."""
    filter: str
    kind: MetricKind
    unit: str
    """What `teacher`, `student` and `difference` are: a `share` (0 to 1), a `score`, `bits/byte`, or a `perplexity`."""
    higher_is_better: bool
    primary: bool
    """Whether the task's verdict rests on this entry."""
    group: str | None
    """The smallest group of this call around this task or group, if any."""
    num_tasks: int
    """1 for a task; for a group, the number of its tasks (the clusters of its standard errors)."""
    num_pairs: int
    num_pairs_effective: float
    """Documents of equal weight that would say as much: fewer where they count by length, or tasks weigh unequally."""
    num_docs_total: int
    chance: float | None
    """Score of guessing: the mean of one over the number of options of each document; `None` where lower is better."""
    teacher: Estimate
    student: Estimate
    difference: Estimate
    """Student minus teacher."""
    retention: Estimate
    """student / teacher (teacher / student where lower is better): 1 is kept in full."""
    retention_above_chance: Estimate
    """(student - chance) / (teacher - chance)."""
    contrast: Estimate
    """The quantity whose interval decides the verdict: above 0 is within what the criterion allows."""
    test: str | None
    """The paired test that gave `p_value`, e.g. `exact McNemar`."""
    p_value: float | None
    p_adjusted: float | None
    """Holm-adjusted over the primary entries of this student."""
    flips: Flips | None
    power: Power
    verdict: Verdict | None
    """`None` for entries that are not primary."""
    lm_eval_teacher: float | None
    """The task's score exactly as lm-eval computes and prints it (a perplexity stays a perplexity)."""
    lm_eval_student: float | None
    lm_eval_reason: str | None = None
    """Why one of the two is `None`."""
    bought: Bought | None = None
    """`None` for a student without a baseline, and for entries that are not primary."""
    adaptive: Adaptive | None = None
    """`None` without --adaptive, and for entries that are not primary. With it, all intervals and p-values hold at
    whichever look they are read."""


@record
class EngineParity:
    """On one task, what of a student's loss is its engine's: the unquantized weights were run on both engines.

    Both are means over the same documents, in the metric's own unit; below 0 is lost where higher is better.
    """

    student_ref: str
    engine: str
    """That ran the student; the other is transformers."""
    unquantized_ref: str | None
    """The weights that ran on both; `None` when they could not be run on the student's engine."""
    task: str | None
    metric: str | None
    num_docs: int
    engine_part: Estimate
    """The unquantized model on the student's engine minus the same on transformers."""
    quantization_part: Estimate
    """The student minus the unquantized model on the same engine."""
    num_engine_flips: int | None
    """The noise floor: documents whose 0/1 score differs between two runs of the same weights on two engines."""
    num_quantization_flips: int | None
    """Documents whose 0/1 score differs between the unquantized model and the student, on one engine."""
    reason: str | None = None
    """Why something is `None`."""


@record
class CalibrationError:
    """How far one model's confidence is from its accuracy on one multiple-choice task."""

    model_ref: str
    task: str
    num_docs: int
    accuracy: float
    """Share of documents whose option with the largest log-likelihood is the right one."""
    mean_confidence: float
    """Mean probability of the chosen option, by the softmax of the options' log-likelihoods."""
    error: Estimate
    """Expected calibration error, 0 to 1 (Guo et al. 2017, arXiv 1706.04599, 15 bins)."""


@record
class Finding:
    """One sentence that a reader must know before believing the table."""

    weight: Weight
    subject: str
    """A task, a model, or `run`."""
    text: str


@record
class StudentVerdict:
    """One student's overall verdict: PASS only if every task passes, FAIL if any fails."""

    student_ref: str
    verdict: Verdict
    num_pass: int
    num_fail: int
    num_inconclusive: int
    mean_retention: float | None
    """Unweighted mean of the tasks' retention (primary entries)."""
    worst_task: str | None
    worst_retention: float | None


@record
class Provenance:
    """How to repeat this: no wall-clock time, so that the same inputs give the same bytes."""

    command: str
    versions: dict[str, str]
    """Package name to version, e.g. `torch` to `2.13.0`."""
    hardware: str
    """E.g. `cpu, 2 threads`."""
    git_commit: str | None
    """Commit of distill-eval when it runs from a checkout, with `-dirty` if it was changed."""


@record
class TaskFacts:
    """One task as all models did it."""

    task: str
    version: str
    output_type: str
    num_fewshot: int
    num_docs: int
    """Documents scored."""
    num_docs_total: int
    """Documents that the task has."""
    prompts_digest: str
    """SHA-256 over every rendered request, in order."""
    dataset: str | None
    """Hub name of the data set, with its configuration, e.g. `cais/mmlu:anatomy`."""
    dataset_revision: str | None
    """Its commit, where that is known."""


@record
class Retention:
    """A whole comparison: one teacher, one or more students, the same documents."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    criterion: Criterion
    teacher: ModelFacts
    students: tuple[ModelFacts, ...]
    baselines: tuple[ModelFacts, ...] = ()
    """Students trained without a teacher, each once; `Entry.bought` names which one a student is held against."""
    manifest: Manifest
    """The teacher's manifest; what a student's has otherwise is a finding."""
    tasks: tuple[TaskFacts, ...]
    """What was asked, in the order of the command; groups are among the entries only."""
    entries: tuple[Entry, ...]
    verdicts: tuple[StudentVerdict, ...]
    findings: tuple[Finding, ...]
    calibration_errors: tuple[CalibrationError, ...] = ()
    """Of teacher and students, on tasks with options."""
    parity: tuple[EngineParity, ...] = ()
    """Of students whose engine is not that of their unquantized model; empty where there are none, or --no-parity."""
    provenance: Provenance
