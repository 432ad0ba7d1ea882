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
    """`isolated`: documents share rows and do not attend to each other; `crossing`: they do; `none`: padded rows."""
    max_length: int
    """Tokens per row."""
    num_documents: int | None
    num_split_documents: int | None
    """Longer than a row, and so cut."""
    num_unscored_documents: int | None
    """Without a token to predict, and so left out."""
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
    """Means over the scored tokens of the validation data."""

    hard_loss: float
    """Cross-entropy of the text, in nats per token."""
    perplexity: float
    """exp(hard_loss)."""
    kl: float | None
    """KL(teacher || student) at temperature 1, in nats per token; `None` without a teacher, or across tokenizers."""
    top1_agreement: float | None
    """Share of tokens at which both models' most likely token is the same; `None` across tokenizers."""
    teacher_entropy: float | None
    """Of the teacher's distribution at the training temperature, in nats per token."""
    num_tokens: int
    uld: float | None = None
    """Across tokenizers: distance of the sorted probabilities at temperature 1 (0 to 2), per token that is compared."""
    paired_share: float | None = None
    """Across tokenizers: share of the tokens that are compared."""
    bits_per_byte: float | None = None
    """Across tokenizers: cross-entropy of the text that both models predict, per UTF-8 byte of it."""


@record
class Point:
    """One line of the training log."""

    step: int
    values: dict[str, float]
    """`loss`, `soft_loss`, `hard_loss`, `grad_norm`, `learning_rate` ..., as transformers.Trainer names them."""


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
    num_skipped_batches: int
    stopped: str | None
    """Why training ended before its last step; `None`: it did not."""
    teacher_validation: Validation | None
    before: Validation
    after: Validation
    curve: tuple[Point, ...]
    findings: tuple[Finding, ...]
    provenance: Provenance
