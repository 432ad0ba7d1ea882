"""What a training step keeps of its forward pass for the backward pass, from a model's shape.

Per token and layer: what autograd saves of transformers' modules with torch's fused attention, after Korthikanti et
al. 2022 (arXiv 2205.05198, section 4.1), who count it for GPT-2's layer with whole attention maps. docs/design/plan.md
derives the numbers; a test holds every row of `KEPT` against the tensors that autograd saves.
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
    """Channels of the residual stream behind the last layer: what the final norm saves."""


_LLAMA = (Kept(24, 16, 0, 16, 4, 0, 8, 4), Kept(26, 8, 0, 8, 4, 0, 8, 2))
_QK_NORM = (Kept(24, 24, 8, 16, 8, 4, 8, 4), Kept(26, 14, 6, 8, 8, 4, 8, 2))
KEPT: dict[str, tuple[Kept, Kept]] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _QK_NORM,
    "GPTNeoXForCausalLM": (Kept(40, 0, 0, 8, 4, 0, 16, 4, 4), Kept(22, 0, 0, 4, 4, 0, 16, 2, 4)),
    "Gemma3ForCausalLM": (Kept(40, 24, 8, 16, 8, 4, 16, 4), Kept(42, 16, 8, 8, 8, 4, 16, 2)),
}
"""By architecture: in float32, and in bfloat16 autocast. Of GPT-NeoX queries, keys and values are as wide as the hidden
size, and counted with it. Those with dropout keep masks of it besides, other ones on each device: they are not here."""
_STREAM = 4
"""Bytes of a channel of the residual stream, which is float32 under autocast too."""


def layer_bytes(sizes: ModelSizes, dtype: Dtype, *, batch_size: int, length: int) -> int | None:
    """What one layer keeps of a batch; `None` for an architecture that `KEPT` does not have."""
    shape, kept = sizes.shape, KEPT.get(sizes.architecture)
    if shape is None or kept is None:
        return None
    one = kept[dtype == "bfloat16"]
    per_token = (
        one.hidden * shape.hidden_size
        + one.queries * shape.num_heads * shape.head_dim
        + one.keys * shape.num_kv_heads * shape.head_dim
        + one.ffn * shape.ffn_size
        + one.num_heads * shape.num_heads
        + one.num_kv_heads * shape.num_kv_heads
        + one.once
        + one.length * length
    )
    return per_token * batch_size * length


def activation_bytes(
    sizes: ModelSizes, dtype: Dtype, *, batch_size: int, length: int, checkpointing: bool
) -> int | None:
    """What is kept of a forward pass through all layers; `None` as in `layer_bytes`.

    With gradient checkpointing the residual stream before each layer, and one layer whole while it is computed again.
    """
    layer = layer_bytes(sizes, dtype, batch_size=batch_size, length=length)
    if layer is None or sizes.shape is None:
        return None
    tokens, hidden, layers = batch_size * length, sizes.shape.hidden_size, sizes.shape.num_layers
    end = KEPT[sizes.architecture][dtype == "bfloat16"].end * hidden * tokens
    return end + (layers * _STREAM * hidden * tokens + layer if checkpointing else layers * layer)
