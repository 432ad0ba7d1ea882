"""A model as an ONNX graph, and how far it is from the original: the content of `export.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance

SCHEMA = "distill-eval/export"
SCHEMA_VERSION = 1

Format = Literal["onnx"]
Precision = Literal["fp32", "fp16", "int8", "int4"]
Kind = Literal["causal", "classifier"]


@record
class Agreement:
    """The original's and the exported model's logits on the same tokens, run in one way.

    A position is a token of a causal language model, which predicts the next one, or a text of a classifier.
    """

    num_texts: int
    shortest: int
    """Tokens."""
    longest: int
    """Tokens."""
    num_positions: int
    """That were compared."""
    max_abs_diff: float
    """Largest absolute difference of two logits."""
    mean_abs_diff: float
    max_relative_diff: float
    """`max_abs_diff` over the largest absolute logit of the original at all these positions."""
    top1_agreement: float | None
    """Share of the positions at which both have their largest logit in the same place; `None`, as the next two, where
    the logits are not of one answer among several (regression, several labels at once)."""
    num_ties: int | None
    """Positions at which it is in another place, but which the original itself does not decide: its logits of the two
    places differ by no more than 2e-5 of the position's largest absolute logit, the noise of another order of
    summation in float32."""
    mean_kl: float | None
    """KL(original || exported) of the predictions, nats per position."""


@record
class Continuation:
    """What both write behind the same tokens of text, each time the most likely token."""

    num_prompt_tokens: int
    num_tokens: int
    """That the original wrote; fewer than 64 where it ended the text, or the model takes no more."""
    first_difference: int | None
    """Place, from 0, of the first token that differs; `None` when all are equal."""
    original: str
    exported: str


@record
class Parity:
    """The exported folder, loaded from disk into the engine that will run it, against the original in float32."""

    text: Calibration
    """From which the texts were drawn."""
    whole: Agreement
    """A text at a time, all of its tokens at once."""
    padded: Agreement | None
    """Texts of different lengths in one batch."""
    cached: Agreement | None
    """All tokens of a text but the last few at once, and these one by one from the KV cache: only they count."""
    greedy: tuple[Continuation, ...]
    reasons: dict[str, str]
    """Why one of the above, or of the figures in them, is `None` or empty, by its name."""


@record
class Graph:
    """What is in the exported graph."""

    size_bytes: int
    """The graph and its weights on disk."""
    embedding_bytes: int
    """Of the token embedding, and of the head of a causal language model; shared ones counted once."""
    num_weights_by_bits: dict[str, int]
    """How many matrices are multiplied with, by the bits of a weight."""


@record
class ExportRun:
    """How a model was exported; its folder holds this file."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    model: ModelRef
    """As the user named it."""
    model_commit: str | None
    """The Hub commit that was read; `None` for a folder."""
    architecture: str
    """Class name in transformers, e.g. `LlamaForCausalLM`."""
    kind: Kind
    dtype: str
    """Of the original's weights, e.g. `bfloat16`."""
    num_parameters: int
    """Shared (tied) parameters counted once."""
    original_size_bytes: int
    """Bytes of the original's weight files."""
    original_embedding_bytes: int
    """As `Graph.embedding_bytes`, in the original's dtype."""
    format: Format
    precision: Precision
    exporter: str
    """Name and version of the library that wrote the graph."""
    execution_provider: str
    """Of ONNX Runtime, for which it was written: `cpu` or `cuda`."""
    algorithm: str | None
    """How weights were rounded (`w8a8`: and activations with them, token by token); `None` when they were not."""
    block_size: int | None
    """Weights that share a scale; `None` when none do, or a whole matrix or output channel."""
    accuracy_level: int | None
    """Of MatMulNBits: what its products are computed in (0 and 1: float32, 4: int8); `None` without that operator."""
    graph: Graph
    seconds: float
    """From loading the original to the written graph, parity not included."""
    parity: Parity
    provenance: Provenance
