"""A training run: what was learnt from whom, on what, and the curves. The content of `distill.json`."""

from __future__ import annotations

from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Finding, Provenance

SCHEMA = "distill-eval/distill"
SCHEMA_VERSION = 1


@record
class DataFacts:
    """The text that was trained on."""

    data: str
    """Hub name or files, as the user named them."""
    packing: str
    """`isolated`: documents share rows and do not attend to each other; `crossing`: they do; `none`: padded rows, as a
    classifier's always are."""
    max_length: int
    """Tokens per row."""
    num_documents: int | None
    num_split_documents: int | None
    """Longer than a row, and so cut: into several, or a classifier's text to its beginning."""
    num_unscored_documents: int | None
    """Without a token to predict, and so left out; of a classifier, without text or label."""
    padding_share: float | None
    """Empty positions, if every row were padded to `max_length`."""
    num_blocks: int | None
    num_tokens: int | None
    num_scored_tokens: int | None
    digest: str | None
    """SHA-256 over the training rows; this and the counts are `None` for streamed data."""
    num_validation_blocks: int
    num_validation_scored_tokens: int
    paired_share: float | None = None
    """Scored tokens that are compared with a teacher of another tokenizer; `None` with one tokenizer, or streamed."""


@record
class Validation:
    """Means over the scored tokens of the validation data; a classifier's over its texts."""

    hard_loss: float
    """Cross-entropy of the text, in nats per token; of the labels, in nats per text."""
    perplexity: float
    """exp(hard_loss)."""
    kl: float | None
    """KL(teacher || student) at temperature 1, in nats per token or text; `None` without a teacher, or across
    tokenizers."""
    top1_agreement: float | None
    """Share of tokens (texts) at which both models' most likely token (label) is the same; `None` across tokenizers."""
    teacher_entropy: float | None
    """Of the teacher's distribution at the training temperature, in nats per token or text."""
    num_tokens: int
    """Scored ones; a classifier's texts."""
    accuracy: float | None = None
    """Share of texts whose most likely label is right; `None` for a language model."""
    macro_f1: float | None = None
    """Mean over the labels that occur or are predicted of 2 TP / (2 TP + FP + FN); `None` for a language model."""
    uld: float | None = None
    """Across tokenizers: distance of the sorted probabilities at temperature 1 (0 to 2), per token that is compared."""
    paired_share: float | None = None
    """Across tokenizers: share of the tokens that are compared."""
    bits_per_byte: float | None = None
    """Across tokenizers: cross-entropy of the text that both models predict, per UTF-8 byte of it."""

    @property
    def unit(self) -> str:
        """What the means are over: a `token`, or a classifier's `text`."""
        return "token" if self.accuracy is None else "text"


@record
class Point:
    """One line of the training log."""

    step: int
    values: dict[str, float]
    """`loss`, `soft_loss`, `hard_loss`, `grad_norm`, `learning_rate` ..., as transformers.Trainer names them."""


@record
class Paired:
    """Teacher and student on the same texts."""

    num_pairs: int
    num_only_teacher: int
    """Texts that the teacher alone labels right."""
    num_only_student: int
    p_value: float
    """Exact McNemar test: of no difference between their accuracies."""


@record
class ClassifierFigures:
    """What a finished classifier does and costs."""

    model: str
    """Hub name or folder, as the user named it."""
    num_parameters: int
    size_bytes: int
    """Of its weight files."""
    accuracy: float
    accuracy_ci_low: float
    """Wilson's 95 % interval."""
    accuracy_ci_high: float
    macro_f1: float
    """As in `Validation`."""
    num_texts: int
    latency_p50_ms: float | None
    """One text at a time, from the text to the label, tokenization included, after a warm-up."""
    latency_p95_ms: float | None
    num_requests: int
    """That the latencies are percentiles of."""
    resident_bytes: int | None
    """Memory of a fresh process, with Python and its libraries, after these requests."""
    resident_before_bytes: int | None
    """The same before the model was loaded."""
    num_threads: int | None
    unmeasured: str | None
    """Why latency and memory are `None`."""
    paired: Paired | None
    """A teacher against the student; `None` for the student itself."""


@record
class Classification:
    """The finished student as a classifier, beside its teachers."""

    labels: tuple[str, ...]
    """In the student's order: label number n is `labels[n]`."""
    num_labeled: tuple[int, ...]
    """Training texts of each."""
    measured_on: str
    """The texts of all figures below."""
    is_validation: bool
    """Whether these were the validation texts, on which the curve was followed."""
    device: str
    student: ClassifierFigures
    teachers: tuple[ClassifierFigures, ...]


@record
class DistillRun:
    """A finished training; its folder is the student's Hugging Face folder."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    student: ModelRef
    """The student before training."""
    teachers: tuple[ModelRef, ...]
    teacher_weights: tuple[float, ...]
    baseline: bool
    """Trained without its teacher, to measure what distillation bought."""
    settings: dict[str, str]
    """Every option that is not its default, by flag."""
    num_parameters: int
    size_bytes: int
    data: DataFacts
    num_steps: int
    num_tokens_seen: int
    peak_bytes: int | None = None
    """Most memory that models, gradients, optimizer and batches took together: of a GPU by its tensors, of a processor
    resident beyond what the process had before; of the main one of several. `None`: an older version did not say."""
    seconds_per_step: float | None = None
    """Mean of the optimizer steps of the process that ended the run, without validations and checkpoints. `None`: there
    was none, or an older version did not say."""
    num_skipped_batches: int
    stopped: str | None
    """Why training ended before its last step; `None`: it did not."""
    teacher_validation: Validation | None
    before: Validation
    after: Validation
    classification: Classification | None = None
    """`None` for a language model."""
    curve: tuple[Point, ...]
    findings: tuple[Finding, ...]
    provenance: Provenance
