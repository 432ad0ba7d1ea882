"""Models of which every size is a round number, for closed forms."""

from distill_eval.schema.plan import KvCache, ModelSizes, Parts
from distill_eval.schema.student import Shape

SHAPE = Shape(num_layers=2, hidden_size=10, ffn_size=30, num_heads=4, num_kv_heads=2, head_dim=5)
PARTS = Parts(embeddings=1000, attention=2 * 600, feed_forward=2 * 900, norms=50, head=0, other=0)
KV_CACHE = KvCache(num_full_layers=2, num_window_layers=0, window=None, bytes_per_token_per_layer=2 * 2 * 5 * 2)


def sizes(**changes):
    """A causal language model of 100 tokens with tied embeddings."""
    parts = changes.pop("parts", PARTS)
    facts = {
        "name": "small",
        "architecture": "LlamaForCausalLM",
        "config_source": "made here",
        "shape": SHAPE,
        "vocab_size": 100,
        "max_length": 64,
        "parts": parts,
        "weight_bytes": {"fp32": 4 * parts.total, "bf16": 2 * parts.total, "int8": parts.total},
        "kv_cache": KV_CACHE,
    }
    return ModelSizes(**(facts | changes))
