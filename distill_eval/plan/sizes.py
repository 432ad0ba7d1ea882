"""A model's sizes from its config alone: parameters by part, bytes by dtype, KV cache, requests that fit.

Every one of them is arithmetic on tensors that have shapes and no memory; docs/metrics.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from distill_eval.engine.hf import LENGTHS
from distill_eval.errors import ModelError, UsageError, boundary
from distill_eval.quantize.schemes import SCHEMES, choose_group_size
from distill_eval.schema.plan import KvCache, ModelSizes, Parts
from distill_eval.schema.quant import Scheme
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.count import on_meta
from distill_eval.student.shape import read_shape
from distill_eval.student.teacher import Kind

_BF16 = 2
"""Bytes of an entry: of what stays as it was trained, of a scale, of a key or value in the cache."""
_WORD = 32
"""Bits of the integers that compressed-tensors packs weights into, row by row."""
_SHAPE_BYTES = 16
"""Beside packed weights stands the shape that they had: two int64."""
_OTHER_CACHES = ("kv_lora_rank", "global_head_dim", "num_kv_shared_layers", "new_decoder_architecture")
"""Config fields of models that cache something else than the same keys and values in every layer, or (the last, of
Falcon 40B) of which transformers repeats them for every query head and vLLM does not."""
_INTEGERS: dict[str, Scheme] = {"int8": "W8A16", "int4": "W4A16"}
_ATTENTION = frozenset({"attn", "self_attn", "attention", "self_attention"})
_FEED_FORWARD = frozenset({"mlp", "ffn", "fc1", "fc2", "feed_forward", "intermediate", "output", "block_sparse_moe"})


def model_sizes(config: Any, kind: Kind, *, name: str, source: str) -> ModelSizes:
    """Everything that a config says about a model's size; no weight is read.

    Args:
        config: The transformers config.
        kind: Language model or classifier.
        name: What the plan calls the model.
        source: Where the config comes from.

    Raises:
        ModelError: transformers cannot build the model of the config.
    """
    with boundary(ModelError, f"transformers cannot build {name} from its config"):
        model = on_meta(config, kind)
        text = config.get_text_config()
        kv_cache = _kv_cache(text) if kind == "causal" else None
    parts = _parts(model)
    known = ARCHITECTURES.get(type(model).__name__)
    return ModelSizes(
        name=name,
        architecture=type(model).__name__,
        config_source=source,
        shape=None if known is None else read_shape(config, known),
        vocab_size=text.vocab_size,
        max_length=_max_length(text, known.unused_positions if known else 0),
        parts=parts,
        weight_bytes={"fp32": 4 * parts.total, "bf16": _BF16 * parts.total, **_integer_bytes(model, parts.total)},
        kv_cache=kv_cache,
    )


def max_requests(sizes: ModelSizes, dtype: str, *, num_tokens: int, memory_bytes: float) -> int | None:
    """How many requests of this length the memory holds at once beside the weights; 0 where the weights do not fit.

    Args:
        sizes: Of the model.
        dtype: Of its weights; keys and values are bfloat16 whatever it is, as vLLM keeps them.
        num_tokens: Of a request, prompt and answer together.
        memory_bytes: What there is for both.

    Returns:
        `None` where the model keeps no keys and values (a classifier), or its weights have no such dtype.
    """
    weights = sizes.weight_bytes.get(dtype)
    if sizes.kv_cache is None or weights is None:
        return None
    return max(0, int((memory_bytes - weights) // sizes.kv_cache.num_bytes(num_tokens)))


def _parts(model: PreTrainedModel) -> Parts:
    head = model.get_output_embeddings()
    counts = dict.fromkeys(("embeddings", "attention", "feed_forward", "norms", "head", "other"), 0)
    for name, parameter in model.named_parameters():  # shared ones once
        path = name.rpartition(".")[0]
        counts[_part(path, model.get_submodule(path), head)] += parameter.numel()
    return Parts(**counts)


def _part(path: str, module: nn.Module, head: nn.Module | None) -> str:
    """What a module is for, by its class and its path."""
    names = path.split(".")
    if isinstance(module, nn.Embedding):
        return "embeddings"
    if "norm" in type(module).__name__.lower():
        return "norms"
    if module is head or not any(name.isdecimal() for name in names):  # what is in no layer: pooler and labels
        return "head" if module is head or head is None else "other"
    if _ATTENTION & set(names):
        return "attention"
    return "feed_forward" if _FEED_FORWARD & set(names) else "other"


def _integer_bytes(model: PreTrainedModel, num_parameters: int) -> dict[str, int]:
    """Bytes of the model with its linear layers in 8 and in 4 bits, as `quantize` writes them without any option.

    Empty for a model without linear layers, without int4 where no group size divides their widths.
    """
    head = model.get_output_embeddings()
    layers = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and _part(path, module, head) != "head"
    }
    if not layers:
        return {}
    found = {}
    rest = _BF16 * (num_parameters - sum(layer.weight.numel() for layer in layers.values()))
    for dtype, scheme in _INTEGERS.items():
        facts = SCHEMES[scheme]
        group = None
        if facts.grouped:
            try:
                group = choose_group_size({path: layer.in_features for path, layer in layers.items()}, None)
            except UsageError:
                continue
        found[dtype] = rest + packed_bytes(
            ((layer.out_features, layer.in_features) for layer in layers.values()), facts.weight_bits, group
        )
    return found


def packed_bytes(shapes: Iterable[tuple[int, int]], num_bits: int, group_size: int | None) -> int:
    """Bytes of symmetric integer weights with their scales, one per group or per row, in compressed-tensors' format.

    Args:
        shapes: Rows and columns (outputs and inputs) of the layers.
        num_bits: Of a weight.
        group_size: Neighbors in a row that share a scale; `None` is the whole row.
    """
    return sum(
        4 * rows * -(-columns * num_bits // _WORD) + _BF16 * rows * (columns // (group_size or columns)) + _SHAPE_BYTES
        for rows, columns in shapes
    )


def _max_length(config: Any, unused: int) -> int | None:
    known = (getattr(config, name, None) for name in LENGTHS)
    return next((int(length) - unused for length in known if length), None)


def _kv_cache(config: Any) -> KvCache | None:
    """What transformers' own cache of this config keeps; `None` where that is not keys and values of heads alone."""
    layers = DynamicCache(config=config).layers
    plain = all(type(layer) in {DynamicLayer, DynamicSlidingWindowLayer} for layer in layers)
    if not plain or any(getattr(config, field, None) for field in _OTHER_CACHES):
        return None
    windows = {layer.sliding_window for layer in layers if isinstance(layer, DynamicSlidingWindowLayer)}
    if len(windows) > 1:
        return None
    sliding = sum(isinstance(layer, DynamicSlidingWindowLayer) for layer in layers)
    heads = config.num_attention_heads
    kv_heads = 1 if getattr(config, "multi_query", False) else getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return KvCache(
        num_full_layers=len(layers) - sliding,
        num_window_layers=sliding,
        window=next(iter(windows), None),
        bytes_per_token_per_layer=2 * kv_heads * head_dim * _BF16,
    )
