"""How a model was quantized, and what that did to it: the content of `quant.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance

SCHEMA = "distill-eval/quant"
SCHEMA_VERSION = 1

Scheme = Literal["W8A8", "W8A16", "W4A16", "int8", "nf4"]
Algorithm = Literal["rtn", "autoround"]


@record
class LayerError:
    """How far one quantized layer's output is from the original's, on the same inputs."""

    layer: str
    """Module name in transformers, e.g. `model.layers.0.mlp.down_proj`."""
    num_parameters: int
    relative_error: float | None
    """|y - y'| / |y|, Euclidean norms over all tokens of the held-out text, y = W x with the inputs that the original
    model gives the layer; `None` when the layer's output was zero throughout."""


@record
class UnitHarm:
    """What quantizing one unit alone does to the whole model."""

    unit: tuple[str, ...]
    """Layers that an engine fuses, and that are therefore quantized together or not at all."""
    mean_kl: float
    """KL(original || model with this unit alone quantized), nats per token of the calibration text."""


@record
class KeptBest:
    """What it cost and saved to leave the most harmful units in high precision."""

    num_kept: int
    harms: tuple[UnitHarm, ...]
    """All units, the most harmful first; the first `num_kept` were left in high precision."""
    size_bytes_without: int
    """Of the weights with every unit quantized."""
    mean_kl_without: float
    """Of the check with every unit quantized."""


@record
class Check:
    """The quantized folder, loaded again from disk, against the original on held-out text."""

    text: Calibration
    """Of these samples the first ones calibrated, the last `num_held_out` are what was checked on."""
    num_held_out: int
    num_tokens: int
    mean_kl: float
    """KL(original || quantized), nats per token."""
    stderr_kl: float | None
    """Standard error of the mean over held-out samples, which are the independent units; `None` for a single one."""
    top1_agreement: float
    """Share of tokens on which both models' most likely next token is the same."""
    perplexity_original: float
    perplexity: float
    max_kl: float
    """The bound that was asked for."""
    generated: str
    """The beginning of a held-out sample, continued greedily by the quantized model."""


@record
class QuantRun:
    """How a model was quantized; its folder holds this file."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    model: ModelRef
    """The original, as the user named it."""
    model_commit: str | None
    """The Hub commit that was read; `None` for a folder."""
    model_digest: str
    """SHA-256 over the original's config and weight files."""
    architecture: str
    scheme: Scheme
    algorithm: Algorithm | None
    """`None` for bitsandbytes, which has one of its own per scheme."""
    symmetric: bool
    group_size: int | None
    """Weights that share a scale along a layer's input; `None`: one scale per output channel."""
    double_quant: bool
    """nf4 alone: the scales are quantized, too."""
    iterations: int | None
    """Of AutoRound, per block."""
    seed: int
    library: str
    """What quantized, with its version."""
    quantized_layers: tuple[str, ...]
    ignored_layers: tuple[str, ...]
    """Linear layers that stayed in high precision."""
    tied_embeddings: bool
    num_parameters: int
    num_parameters_quantized: int
    embedding_bytes: int
    """What input and output embeddings take of `size_bytes`."""
    size_bytes_original: int
    """Of the weight files on disk."""
    size_bytes: int
    bits_per_weight: float
    """8 * size_bytes / num_parameters: scales and what stayed in high precision included."""
    seconds: float
    """To quantize and write, without the check."""
    peak_bytes: int
    """How much the process's largest resident size rose meanwhile; what it had been larger before is not seen."""
    layer_errors: tuple[LayerError, ...]
    """The largest first."""
    kept_best: KeptBest | None
    """`None` unless units were left in high precision by their harm."""
    check: Check
    warnings: tuple[str, ...]
    provenance: Provenance
