"""Whether a model may be scored as a prefix tree: by its structure first, then by its numbers."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any

import torch

from distill_eval.evaluate.scorer.attention import UnsupportedAttentionError
from distill_eval.evaluate.scorer.packed import LogLikelihood, PackedScorer
from distill_eval.evaluate.scorer.tree import TokenRequest

LAYER_TYPES = frozenset({"full_attention", "sliding_attention"})
"""Layer types of transformers that a tree mask expresses."""

LENGTH_DEPENDENT_ROPE = frozenset({"dynamic", "longrope"})
"""Rotary embeddings whose angles depend on the longest position of the whole forward pass."""

TOLERANCE = {torch.float32: (1e-3, 1e-5), torch.float64: (1e-3, 1e-5)}
"""Absolute, and relative to the log-likelihood, in nats."""

HALF_TOLERANCE = (0.25, 0.05)
"""bfloat16, float16 and quantized models: a row's rounding already depends on its batch, in lm-eval as well."""


def reason_against(model: Any) -> str | None:
    """Why the model's structure rules out sharing prefixes, or `None`."""
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        return "an encoder-decoder model has no prefix to share"
    if not getattr(model, "_supports_attention_backend", False):
        return f"{type(model).__name__} does not use transformers' attention interface"
    if model.config._attn_implementation not in ("sdpa", "eager"):
        return f"attention implementation {model.config._attn_implementation!r} cannot take a tree mask"
    others = sorted(set(getattr(config, "layer_types", None) or ()) - LAYER_TYPES)
    if others:
        return f"layers of type {', '.join(others)} carry state from token to token or mask it in their own way"
    return None


def rope_limit(model: Any) -> int:
    """Tokens beyond which a row's rotary embeddings depend on the longest row of the forward pass.

    `sys.maxsize` when they never do. Phi-3.5, of type `longrope`: 4,096.
    """
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    limits = [
        int(entry.get("original_max_position_embeddings") or config.max_position_embeddings)
        for entry in [rope, *(value for value in rope.values() if isinstance(value, dict))]
        if entry.get("rope_type") in LENGTH_DEPENDENT_ROPE
    ]
    return min(limits, default=sys.maxsize)


def choose_batch_tokens(model: Any) -> int:
    """Tokens per forward pass: on a CPU as many as keep its caches warm, on a GPU as many as keep it busy."""
    return 1024 if model.device.type == "cpu" else 16384


def reference_scores(model: Any, requests: Sequence[TokenRequest]) -> list[LogLikelihood]:
    """The requests scored one by one with the model's own forward pass."""
    can_keep = "logits_to_keep" in inspect.signature(model.forward).parameters
    scores = []
    for request in requests:
        tokens = torch.tensor([request.inputs], device=model.device)
        few = {"logits_to_keep": len(request.targets)} if can_keep else {}
        with torch.inference_mode():
            logits = model(input_ids=tokens, use_cache=False, **few).logits[0]
        logprobs = logits[-len(request.targets) :].float().log_softmax(-1).cpu()
        targets = torch.tensor(request.targets)
        picked = logprobs.gather(-1, targets[:, None]).sum()
        scores.append(LogLikelihood(float(picked), bool((logprobs.argmax(-1) == targets).all())))
    return scores


def tolerance(model: Any) -> tuple[float, float]:
    """How far two ways to compute a log-likelihood may differ: absolute, and relative to it, in nats.

    Quantized layers round their inputs to 8 bits or compute in 16, so a last bit may grow to a step of the grid.
    """
    is_packed = getattr(model.config, "quantization_config", None) is not None
    return HALF_TOLERANCE if is_packed else TOLERANCE.get(model.dtype, HALF_TOLERANCE)


def disagreement(
    scorer: PackedScorer, requests: Sequence[TokenRequest], expected: Sequence[LogLikelihood]
) -> str | None:
    """How the packed scores of these requests differ from the expected ones of the first, or `None` if they agree."""
    found: dict[int, LogLikelihood] = {}
    try:
        scorer.score(requests, on_scores=found.update, on_tokens=lambda seen, total: None)
    except UnsupportedAttentionError as error:
        return str(error)
    config = scorer.model.config.get_text_config()
    if len(scorer.attention.windows) != config.num_hidden_layers:
        return f"only {len(scorer.attention.windows)} of {config.num_hidden_layers} layers use the attention interface"
    for layer, kind in enumerate(getattr(config, "layer_types", None) or ()):
        if kind == "sliding_attention" and scorer.attention.windows[layer] is None:
            return f"layer {layer} has a sliding window that it does not tell its attention function"
    absolute, relative = tolerance(scorer.model)
    for index, score in enumerate(expected):
        if not abs(found[index].logprob - score.logprob) <= absolute + relative * abs(score.logprob):
            return f"the prefix tree gave {found[index].logprob:.6g}, the model's own forward pass {score.logprob:.6g}"
    return None
