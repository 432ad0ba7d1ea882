"""The next token's most likely candidates under each model and temperature: what dark knowledge looks like.

Shapes: V vocabulary, K shown tokens.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill_eval.device import choose_device
from distill_eval.engine import LogitModel
from distill_eval.engine.load import find, load
from distill_eval.errors import ModelError, require
from distill_eval.fidelity.config import PeekConfig
from distill_eval.fidelity.text import encode
from distill_eval.schema.fidelity import Peek, PeekedToken, Softened
from distill_eval.schema.model import ModelRef


def run(config: PeekConfig) -> tuple[Peek, ...]:
    """Ask every model, one after the other.

    Raises:
        UsageError: the prompt has no token, or more than a model reads.
        ModelError: a model cannot be had or loaded, or gives no numbers.
    """
    device = choose_device(config.device)
    found = [find(ModelRef.parse(name)) for name in config.model]
    peeks = []
    for one in found:
        model = load(one, dtype=config.dtype, device=device)
        peeks.append(peek(model, str(one.ref), config.prompt, config.temperatures, config.top_k))
        del model
        gc.collect()
    return tuple(peeks)


def peek(model: LogitModel, name: str, prompt: str, temperatures: Sequence[float], top_k: int) -> Peek:
    """What one model says about the token behind a prompt.

    Args:
        model: Loaded.
        name: As the user named it.
        prompt: Not empty.
        temperatures: The logits are divided by each.
        top_k: Tokens to show; they are the same at every temperature, which changes no order.

    Raises:
        UsageError: the prompt has no token, or more than the model reads.
        ModelError: the model's logits are not numbers.
    """
    ids = encode(prompt, model.tokenizer)
    require(
        0 < len(ids) <= model.max_length,
        f"--prompt has {len(ids):,} tokens for {name}: expected 1 to {model.max_length:,}",
    )
    logits_V = model.logits(ids)[-1].double()
    if not logits_V.amax().isfinite():
        raise ModelError(f"{name} gives logits that are not numbers. Try --dtype float32")
    best_K = logits_V.sort(descending=True, stable=True).indices[:top_k]
    return Peek(
        model=name,
        num_prompt_tokens=len(ids),
        tokens=tuple(PeekedToken(id=int(token), text=_text(model.tokenizer, int(token))) for token in best_K),
        softened=tuple(_soften(logits_V, best_K, temperature) for temperature in temperatures),
    )


def _soften(logits_V: Tensor, best_K: Tensor, temperature: float) -> Softened:
    """Probabilities softmax(logits / temperature) of these tokens, and the entropy of all."""
    log_probs_V = torch.log_softmax(logits_V / temperature, -1)
    probs_V = log_probs_V.exp()
    return Softened(
        temperature=temperature,
        probs=tuple(probs_V[best_K].tolist()),
        entropy=float(torch.special.entr(probs_V).sum()),
    )


def _text(tokenizer: Any, token: int) -> str:
    """A token as text, special ones by their name."""
    return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
