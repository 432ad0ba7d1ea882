"""What a training step keeps of its forward pass for the backward pass, from a model's shape.

Per token and layer: what autograd saves of transformers' modules with torch's fused attention, after Korthikanti et
al. 2022 (arXiv 2205.05198, section 4.1), who count it for GPT-2's layer with whole attention maps. docs/design/plan.md
derives the numbers; tests hold every row of `KEPT` against the tensors that autograd saves.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from distill_eval.schema.plan import ModelSizes

Dtype = Literal["float32", "bfloat16"]
"""What a student computes in, as `distill --dtype`: bfloat16 is autocast beside float32 weights."""


class Kept(NamedTuple):
    """Bytes per token and layer that each size of a layer is multiplied by."""

    hidden: int
    """Channels of the residual stream."""
    queries: int
    """Query heads x head_dim. Keys and values are repeated to as many, since packed documents need a mask."""
    keys: int
    """KV heads x head_dim."""
    ffn: int
    num_heads: int
    num_kv_heads: int
    once: int
    length: int
    """Tokens of a row: the mask of packed documents, in every layer."""
    end: int = 8
    """Channels of the residual stream outside the layers: what the final norm saves, or norm and mask of embeddings."""
    maps: int = 0
    """Query heads x tokens of a row: whole attention maps, where dropout on them has no fused kernel."""


def _alike(float32: Kept, bfloat16: Kept) -> tuple[Kept, Kept, Kept, Kept]:
    """Without dropout a processor keeps what a GPU does."""
    return float32, bfloat16, float32, bfloat16


_LLAMA = _alike(Kept(24, 16, 0, 16, 4, 0, 8, 4), Kept(26, 8, 0, 8, 4, 0, 8, 2))
_QK_NORM = _alike(Kept(24, 24, 8, 16, 8, 4, 8, 4), Kept(26, 14, 6, 8, 8, 4, 8, 2))
_BERT = (
    Kept(34, 0, 0, 8, 4, 0, 16, 4, 5),
    Kept(26, 0, 0, 4, 4, 0, 16, 2, 5),
    Kept(40, 0, 0, 8, 0, 0, 16, 0, 8, 12),
    Kept(34, 0, 0, 4, 0, 0, 16, 0, 8, 12),
)
KEPT: dict[str, tuple[Kept, Kept, Kept, Kept]] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _QK_NORM,
    "GPTNeoXForCausalLM": _alike(Kept(40, 0, 0, 8, 4, 0, 16, 4, 4), Kept(22, 0, 0, 4, 4, 0, 16, 2, 4)),
    "Gemma3ForCausalLM": _alike(Kept(40, 24, 8, 16, 8, 4, 16, 4), Kept(42, 16, 8, 8, 8, 4, 16, 2)),
    "GPT2LMHeadModel": (
        Kept(34, 0, 0, 20, 4, 0, 16, 4, 5),
        Kept(22, 0, 0, 10, 4, 0, 16, 2, 5),
        Kept(40, 0, 0, 20, 0, 0, 16, 0, 8, 12),
        Kept(30, 0, 0, 10, 0, 0, 16, 0, 8, 12),
    ),
    "OPTForCausalLM": (
        Kept(34, 0, 0, 4, 4, 0, 16, 4, 4),
        Kept(26, 0, 0, 2, 4, 0, 16, 2, 4),
        Kept(40, 0, 0, 4, 4, 0, 16, 4, 4),
        Kept(28, 0, 0, 2, 4, 0, 16, 2, 4),
    ),
    "BertForSequenceClassification": _BERT,
    "RobertaForSequenceClassification": _BERT,
    "DistilBertForSequenceClassification": (
        Kept(33, 0, 0, 8, 4, 0, 16, 4, 5),
        Kept(25, 0, 0, 4, 4, 0, 16, 2, 5),
        Kept(36, 0, 0, 8, 0, 0, 16, 0, 8, 12),
        Kept(32, 0, 0, 4, 0, 0, 16, 0, 8, 12),
    ),
}
"""By architecture: on a GPU in float32 and in bfloat16 autocast, and on a processor in each. Of GPT-NeoX and of those
with dropout, queries, keys and values are as wide as the hidden size, and counted with it. A mask of dropout has a byte
per element on a GPU, and the element's size on a processor."""
_STREAM = 4
"""Bytes of a channel of the residual stream, which is float32 under autocast too."""


def kept_by(architecture: str, dtype: Dtype, *, on_cpu: bool) -> Kept | None:
    """The row of the table; `None` for an architecture that it does not have."""
    kept = KEPT.get(architecture)
    return None if kept is None else kept[(2 if on_cpu else 0) + (1 if dtype == "bfloat16" else 0)]


def layer_bytes(sizes: ModelSizes, dtype: Dtype, *, batch_size: int, length: int, on_cpu: bool) -> int | None:
    """What one layer keeps of a batch; `None` for an architecture that `KEPT` does not have."""
    shape, one = sizes.shape, kept_by(sizes.architecture, dtype, on_cpu=on_cpu)
    if shape is None or one is None:
        return None
    per_token = (
        one.hidden * shape.hidden_size
        + one.queries * shape.num_heads * shape.head_dim
        + one.keys * shape.num_kv_heads * shape.head_dim
        + one.ffn * shape.ffn_size
        + one.num_heads * shape.num_heads
        + one.num_kv_heads * shape.num_kv_heads
        + one.once
        + one.length * length
        + one.maps * shape.num_heads * length
    )
    return per_token * batch_size * length


def activation_bytes(
    sizes: ModelSizes, dtype: Dtype, *, batch_size: int, length: int, checkpointing: bool, on_cpu: bool
) -> int | None:
    """What is kept of a forward pass through all layers; `None` as in `layer_bytes`.

    With gradient checkpointing the residual stream before each layer, and one layer whole while it is computed again.
    """
    layer = layer_bytes(sizes, dtype, batch_size=batch_size, length=length, on_cpu=on_cpu)
    one = kept_by(sizes.architecture, dtype, on_cpu=on_cpu)
    if layer is None or one is None or sizes.shape is None:
        return None
    tokens, hidden, layers = batch_size * length, sizes.shape.hidden_size, sizes.shape.num_layers
    end = one.end * hidden * tokens
    return end + (layers * _STREAM * hidden * tokens + layer if checkpointing else layers * layer)
