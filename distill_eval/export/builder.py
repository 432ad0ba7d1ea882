"""ONNX Runtime GenAI's model builder: a causal language model as a graph with a KV cache.

The one file that imports it. What it writes keeps the head on every position, so that the folder can be scored, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from distill_eval.errors import ModelError, UsageError, boundary, unknown
from distill_eval.export.config import BLOCK_SIZES, DEFAULT_ACCURACY_LEVEL, Algorithm, ExportConfig
from distill_eval.export.original import copy_small_files
from distill_eval.export.quiet import quiet
from distill_eval.schema.export import Precision

ARCHITECTURES = (
    "Ernie4_5ForCausalLM",
    "Gemma2ForCausalLM",
    "GemmaForCausalLM",
    "GraniteForCausalLM",
    "HunYuanDenseV1ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "NemotronForCausalLM",
    "OlmoForCausalLM",
    "Phi3ForCausalLM",
    "PhiForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "SmolLM3ForCausalLM",
)
"""Of the builder's, the dense text models; it names them in an if-chain, so there is no list to ask it for. Gemma 3 is
left out: the builder (0.18.0) does not read the rotary parameters that transformers 5 gives it."""
_HEAD_SIZES = 16
"""GroupQueryAttention computes heads of a multiple of this size."""
_ALGORITHMS: dict[Algorithm, str] = {
    "rtn": "default",
    "k-quant": "k_quant",
    "k-quant-last": "k_quant_last",
    "k-quant-mixed": "k_quant_mixed",
}
"""Ours and the builder's names. It has two round-to-nearest: its default is the one that packs signed weights."""
GRAPH = "model.onnx"
"""The builder's own name of it."""
_LARGEST_BLOCK = {"int8": 64, "int4": 32}
"""By default. At 8 bit the scales of blocks of 32, in float32, would be a tenth of the file."""


class Rounding(NamedTuple):
    """How weights become integers."""

    algorithm: Algorithm
    block_size: int
    accuracy_level: int


def check_architecture(name: str, ref: str, model_config: Any) -> None:
    """Refuse a model that the builder does not know, or whose graph would not run.

    Raises:
        ModelError: see above; with the names that it may be a misspelling of, or all.
    """
    if name not in ARCHITECTURES:
        what = f"architecture of {ref!r} for ONNX Runtime GenAI's model builder"
        unknown(what, name, ARCHITECTURES, error=ModelError)
    size = _head_size(model_config)
    if size % _HEAD_SIZES:
        raise ModelError(
            f"{ref!r} has heads of {size}: ONNX Runtime's GroupQueryAttention computes multiples of {_HEAD_SIZES}"
        )


def choose_rounding(config: ExportConfig, model_config: Any) -> Rounding | None:
    """What the options and the model's widths come to; `None` when the builder leaves weights in floating point.

    Raises:
        UsageError: the block size does not divide the widths.
    """
    if not config.is_quantized or config.is_w8a8:
        return None
    widths = sorted(
        {
            model_config.hidden_size,
            model_config.intermediate_size,
            _head_size(model_config) * model_config.num_attention_heads,
        }
    )
    algorithm = config.int4_algorithm or "rtn"
    at_once = 1 if algorithm == "rtn" else 2  # k-quant packs the zero points of two blocks into a byte
    fitting = [size for size in BLOCK_SIZES if not any(width % (at_once * size) for width in widths)]
    said, twice = " and ".join(map(str, widths)), " into an even number of blocks" if at_once == 2 else ""
    if not fitting:
        raise UsageError(
            f"--precision {config.precision}: no block of 16 weights or more divides the widths {said}{twice}"
        )
    if config.block_size is not None and config.block_size not in fitting:
        known = " or ".join(map(str, fitting))
        raise UsageError(f"--block-size {config.block_size} does not divide the widths {said}{twice}: type {known}")
    default = next((size for size in fitting if size <= _LARGEST_BLOCK[config.precision]), fitting[-1])
    level = config.accuracy_level
    return Rounding(
        algorithm=algorithm,
        block_size=config.block_size or default,
        accuracy_level=DEFAULT_ACCURACY_LEVEL if level is None else level,
    )


def build(
    source: Path,
    built: Path,
    scratch: Path,
    *,
    precision: Precision,
    rounding: Rounding | None,
    w8a8: bool,
    device: str,
    tied: bool,
) -> None:
    """Write the graph, GenAI's config and everything of the original folder that is no weight.

    Args:
        source: Folder of the original.
        built: Folder to write to.
        scratch: Folder for the builder's own files.
        precision: Of the weights.
        rounding: How they become integers in the builder.
        w8a8: Whether they do so behind it, and the activations with them.
        device: `cpu` or `cuda`.
        tied: Whether the head's weights are the embedding's.

    Raises:
        ModelError: the builder fails.
    """
    from onnxruntime_genai.models import builder

    from distill_eval.export.graph import share_embedding
    from distill_eval.export.w8a8 import quantize_products

    options = _options(precision, rounding, tied)
    paths = str(source), str(source), str(built), "fp32" if w8a8 else precision, device, str(scratch)
    with boundary(ModelError, "ONNX Runtime GenAI's model builder failed"), quiet():
        builder.create_model(*paths, **builder.parse_extra_options(*paths, options))
        if w8a8:
            quantize_products(built / GRAPH)
        elif precision == "int8" and tied:
            share_embedding(built / GRAPH)
        copy_small_files(source, built)


def _options(precision: Precision, rounding: Rounding | None, tied: bool) -> list[str]:
    options = ["windowed_kv_cache=false"]  # a window's shortened one refuses a batch or tokens that are appended later
    if rounding is None:
        return options
    options += [
        f"block_size={rounding.block_size}",
        f"accuracy_level={rounding.accuracy_level}",
        f"algo_config={_ALGORITHMS[rounding.algorithm]}",
    ]
    if precision == "int4" and not tied and rounding.algorithm == "rtn":
        options.append("op_types_to_quantize=MatMul/Gather")  # else an embedding of its own stays in float32
    if precision == "int8" and tied:
        options.append("shared_embeddings=false")  # it would try to share 8-bit weights, and cannot: share_embedding
    return options


def _head_size(model_config: Any) -> int:
    size = getattr(model_config, "head_dim", None)
    return int(size or model_config.hidden_size // model_config.num_attention_heads)
