"""Which axis of which tensor belongs to what, for every architecture that can be made narrower (pure data).

A module's axes are named output first, as `torch.nn.Linear` and `torch.nn.Embedding` store their weights; a bias has
the first of them. Everything else follows from the names: which tensors are cut where, whose inputs are the neurons
and the heads, how many parameters a size costs.

    hidden       channels of the residual stream
    ffn          inner neurons of a feed-forward block
    heads        query heads x head_dim
    kv           key or value heads x head_dim
    qkv          queries, then keys, then values, each heads x head_dim (GPT-2)
    qkv_by_head  per head its query, key and value (GPT-NeoX)
    pooled       neurons between a classifier's encoder and its labels, as many as hidden channels
    whole        never cut: vocabulary, positions, labels, one head's own channels
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from distill_eval.record import record

Axes = tuple[str, ...]
HIDDEN, FFN, HEADS, KV, POOLED, WHOLE = "hidden", "ffn", "heads", "kv", "pooled", "whole"
_NORM, _VOCABULARY = (HIDDEN,), (WHOLE, HIDDEN)


@record
class Architecture:
    """What distinguishes one architecture from another, for cutting it."""

    name: str
    """As people call it."""
    layers: str
    """Path of the list of layers."""
    inside: Mapping[str, Axes]
    """Axes of the modules of one layer, by their path inside it."""
    outside: Mapping[str, Axes]
    """Axes of all other modules."""
    ffn_field: str = "intermediate_size"
    """Config field of the number of inner neurons; may be unset where it is 4 x hidden (GPT-2)."""
    kv_field: str | None = None
    """Config field of the number of key and value heads; `None` where queries are not grouped."""
    hidden_is: Literal["free", "multiple", "product"] = "product"
    """How hidden size and heads hang together: freely; a multiple of the number of heads, which the config insists
    on; or exactly heads x head_dim, since the config has no head_dim (or vLLM does not read it: Qwen2)."""
    hidden_fields: tuple[str, ...] = ()
    """Config fields beside hidden_size that hold the same number."""
    required: Mapping[str, object]
    """Config fields that must have this value for layers to be renumbered."""
    scaled_embedding: bool = False
    """Embeddings are multiplied by the root of the hidden size (Gemma)."""
    norm_offset: float = 0.0
    """Norms multiply by this plus their weight (Gemma: 1)."""
    unused_positions: int = 0
    """Of the config's max_position_embeddings those that no token takes (RoBERTa: up to the padding's number)."""


_ROTARY_OUTSIDE = {"model.embed_tokens": _VOCABULARY, "model.norm": _NORM, "lm_head": _VOCABULARY}
_LLAMA_INSIDE: dict[str, Axes] = {
    "input_layernorm": _NORM,
    "self_attn.q_proj": (HEADS, HIDDEN),
    "self_attn.k_proj": (KV, HIDDEN),
    "self_attn.v_proj": (KV, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HEADS),
    "post_attention_layernorm": _NORM,
    "mlp.gate_proj": (FFN, HIDDEN),
    "mlp.up_proj": (FFN, HIDDEN),
    "mlp.down_proj": (HIDDEN, FFN),
}
_QK_NORMS: dict[str, Axes] = {"self_attn.q_norm": (WHOLE,), "self_attn.k_norm": (WHOLE,)}


def _llama_like(
    name: str, hidden_is: Literal["free", "multiple", "product"], more: Mapping[str, Axes], *, gemma: bool = False
) -> Architecture:
    return Architecture(
        name=name,
        layers="model.layers",
        inside={**_LLAMA_INSIDE, **more},
        outside=_ROTARY_OUTSIDE,
        kv_field="num_key_value_heads",
        hidden_is=hidden_is,
        required={},
        scaled_embedding=gemma,
        norm_offset=1.0 if gemma else 0.0,
    )


_GPT2 = Architecture(
    name="GPT-2",
    layers="transformer.h",
    inside={
        "ln_1": _NORM,
        "attn.c_attn": ("qkv", HIDDEN),
        "attn.c_proj": (HIDDEN, HEADS),
        "ln_2": _NORM,
        "mlp.c_fc": (FFN, HIDDEN),
        "mlp.c_proj": (HIDDEN, FFN),
    },
    outside={
        "transformer.wte": _VOCABULARY,
        "transformer.wpe": _VOCABULARY,
        "transformer.ln_f": _NORM,
        "lm_head": _VOCABULARY,
    },
    ffn_field="n_inner",
    required={"scale_attn_by_inverse_layer_idx": False},
)
_GPT_NEOX = Architecture(
    name="GPT-NeoX",
    layers="gpt_neox.layers",
    inside={
        "input_layernorm": _NORM,
        "attention.query_key_value": ("qkv_by_head", HIDDEN),
        "attention.dense": (HIDDEN, HEADS),
        "post_attention_layernorm": _NORM,
        "mlp.dense_h_to_4h": (FFN, HIDDEN),
        "mlp.dense_4h_to_h": (HIDDEN, FFN),
    },
    outside={"gpt_neox.embed_in": _VOCABULARY, "gpt_neox.final_layer_norm": _NORM, "lm_head": _VOCABULARY},
    required={},
)
_OPT = Architecture(
    name="OPT",
    layers="model.decoder.layers",
    inside={
        "self_attn_layer_norm": _NORM,
        "self_attn.q_proj": (HEADS, HIDDEN),
        "self_attn.k_proj": (KV, HIDDEN),
        "self_attn.v_proj": (KV, HIDDEN),
        "self_attn.out_proj": (HIDDEN, HEADS),
        "final_layer_norm": _NORM,
        "fc1": (FFN, HIDDEN),
        "fc2": (HIDDEN, FFN),
    },
    outside={
        "model.decoder.embed_tokens": _VOCABULARY,
        "model.decoder.embed_positions": _VOCABULARY,
        "model.decoder.final_layer_norm": _NORM,
        "lm_head": _VOCABULARY,
    },
    ffn_field="ffn_dim",
    hidden_fields=("word_embed_proj_dim",),
    required={},
)


def _bert_like(name: str, prefix: str, head: Mapping[str, Axes], *, unused_positions: int = 0) -> Architecture:
    embeddings = f"{prefix}.embeddings"
    return Architecture(
        name=name,
        layers=f"{prefix}.encoder.layer",
        inside={
            "attention.self.query": (HEADS, HIDDEN),
            "attention.self.key": (KV, HIDDEN),
            "attention.self.value": (KV, HIDDEN),
            "attention.output.dense": (HIDDEN, HEADS),
            "attention.output.LayerNorm": _NORM,
            "intermediate.dense": (FFN, HIDDEN),
            "output.dense": (HIDDEN, FFN),
            "output.LayerNorm": _NORM,
        },
        outside={
            f"{embeddings}.word_embeddings": _VOCABULARY,
            f"{embeddings}.position_embeddings": _VOCABULARY,
            f"{embeddings}.token_type_embeddings": _VOCABULARY,
            f"{embeddings}.LayerNorm": _NORM,
            **head,
        },
        required={},
        unused_positions=unused_positions,
    )


_DISTILBERT = Architecture(
    name="DistilBERT",
    layers="distilbert.transformer.layer",
    inside={
        "attention.q_lin": (HEADS, HIDDEN),
        "attention.k_lin": (KV, HIDDEN),
        "attention.v_lin": (KV, HIDDEN),
        "attention.out_lin": (HIDDEN, HEADS),
        "sa_layer_norm": _NORM,
        "ffn.lin1": (FFN, HIDDEN),
        "ffn.lin2": (HIDDEN, FFN),
        "output_layer_norm": _NORM,
    },
    outside={
        "distilbert.embeddings.word_embeddings": _VOCABULARY,
        "distilbert.embeddings.position_embeddings": _VOCABULARY,
        "distilbert.embeddings.LayerNorm": _NORM,
        "pre_classifier": (POOLED, HIDDEN),
        "classifier": (WHOLE, POOLED),
    },
    ffn_field="hidden_dim",
    required={},
)

ARCHITECTURES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": _llama_like("LLaMA", "multiple", {}),
    "MistralForCausalLM": _llama_like("Mistral", "free", {}),
    "Qwen2ForCausalLM": _llama_like("Qwen2", "product", {}),
    "Qwen3ForCausalLM": _llama_like("Qwen3", "free", _QK_NORMS),
    "Gemma3ForCausalLM": _llama_like(
        "Gemma 3 (text)",
        "multiple",
        {**_QK_NORMS, "pre_feedforward_layernorm": _NORM, "post_feedforward_layernorm": _NORM},
        gemma=True,
    ),
    "GPT2LMHeadModel": _GPT2,
    "GPTNeoXForCausalLM": _GPT_NEOX,
    "OPTForCausalLM": _OPT,
    "BertForSequenceClassification": _bert_like(
        "BERT", "bert", {"bert.pooler.dense": (POOLED, HIDDEN), "classifier": (WHOLE, POOLED)}
    ),
    "DistilBertForSequenceClassification": _DISTILBERT,
    "RobertaForSequenceClassification": _bert_like(
        "RoBERTa",
        "roberta",
        {"classifier.dense": (POOLED, HIDDEN), "classifier.out_proj": (WHOLE, POOLED)},
        unused_positions=2,
    ),
}
"""By class name in transformers."""
