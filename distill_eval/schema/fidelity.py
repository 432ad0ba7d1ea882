"""How close models' distributions are to a reference's: the content of `fidelity.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.retention import Provenance

SCHEMA = "distill-eval/fidelity"
SCHEMA_VERSION = 1

Scored = Literal["second-half", "all"]
"""Which positions of a chunk count: `second-half` as llama.cpp's perplexity tool, or `all` that have a next token."""


@record
class Estimate:
    """A number with its uncertainty; all divergences are in nats."""

    value: float
    stderr: float | None
    """Standard error over chunks of text; `None` with a single chunk."""
    stderr_iid: float | None
    """The same if all positions were independent, as llama.cpp prints it; `None` where that has no meaning."""


@record
class Share:
    """A share of the scored positions."""

    value: float
    stderr: float | None
    stderr_iid: float | None
    ci_low: float
    """Of Wilson's interval at 95 %, with the number of positions that the clusters leave."""
    ci_high: float


@record
class Spread:
    """A number per scored position."""

    mean: Estimate
    median: float
    p90: float
    p99: float
    maximum: float


@record
class TokenMeasures:
    """The candidate beside the reference, over the scored positions."""

    kl: Spread
    """KL(reference || candidate)."""
    reverse_kl: Spread
    """KL(candidate || reference); of a candidate beyond about 0.5 nats the estimate mostly reads low."""
    jsd: Spread
    """Jensen-Shannon divergence, at most ln 2."""
    top1_agreement: Share
    """Positions at which both find the same token most likely."""
    top5_overlap: Estimate
    """Share of the five most likely tokens that are the same."""
    rms_delta_p: Estimate
    """Root mean square of the change in probability of the token that the text goes on with."""
    mean_delta_p: Estimate
    """Mean of that change; positive where the candidate predicts better."""
    perplexity: Estimate
    log_perplexity_ratio: Estimate
    """ln of candidate over reference; 0 where both predict alike."""
    perplexity_ratio: Estimate


@record
class Continuation:
    """What both models go on with, greedily, behind one piece of text."""

    chunk: int
    """The number of the piece, from 0."""
    reference: str
    candidate: str
    first_difference: int | None
    """Characters that are the same before the first that differs; `None`: as far as both go, none does."""


@record
class Continuations:
    """Greedy texts of two models side by side."""

    num_tokens: int
    """Each model's own tokens per text."""
    texts: tuple[Continuation, ...]
    agreement: float
    """Share of the texts that do not differ."""
    median_first_difference: float | None
    """Over the texts that differ; `None` where none does."""


@record
class ModelSaid:
    """A model, and how it was run."""

    ref: str
    engine: Literal["hf", "onnx"]
    dtype: str
    """As asked for; `auto` is that of its files."""
    size_bytes: int
    """Of its weight files."""
    digest: str
    """SHA-256 over the content of its files."""
    vocab_size: int


@record
class Candidate:
    """A model that is held against the reference."""

    model: ModelSaid
    tokens: TokenMeasures | None
    tokens_reason: str | None
    """Why there are no token measures."""
    bits_per_byte: Estimate
    """Cross-entropy over the bytes of the scored text."""
    continuations: Continuations | None
    """Of a model with another tokenizer."""


@record
class KeptReference:
    """The file with the reference's distributions."""

    top_k: int
    num_draws: int
    """Ids drawn from the tail of each position."""
    size_bytes: int
    bytes_per_token: float
    full_bytes_per_token: int
    """Of all logits of a position, in what the reference was run in."""
    reused: bool
    """Whether an earlier run had computed it."""


@record
class Fidelity:
    """Candidates beside a reference, on one text."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    reference: ModelSaid
    reference_perplexity: Estimate
    reference_bits_per_byte: Estimate
    text: Calibration
    """Tokens of the reference; its chunks are the samples."""
    scored: Scored
    num_scored: int
    """Positions over all chunks."""
    num_bytes: int
    """UTF-8 bytes of the tokens that are predicted there."""
    kept: KeptReference
    candidates: tuple[Candidate, ...]
    provenance: Provenance


@record
class PeekedToken:
    """One of the tokens that a text may go on with."""

    id: int
    text: str


@record
class Softened:
    """A distribution over the next token at one temperature."""

    temperature: float
    probs: tuple[float, ...]
    """Of the tokens that are shown, in their order."""
    entropy: float
    """Of the whole distribution, in nats."""


@record
class Peek:
    """What one model says about the token behind a prompt."""

    model: str
    num_prompt_tokens: int
    tokens: tuple[PeekedToken, ...]
    """The most likely ones, best first; a temperature changes no order."""
    softened: tuple[Softened, ...]
