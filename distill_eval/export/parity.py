"""The exported folder held against the original, on the same texts, in each way that it will be run.

Shapes: B texts, T tokens, V vocabulary, L labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from distill_eval.calibration import Samples
from distill_eval.engine import LogitModel
from distill_eval.engine.encoder import OnnxEncoder
from distill_eval.engine.genai import GenaiModel
from distill_eval.errors import ModelError
from distill_eval.export.agreement import Tally, first_difference, fp32_problem
from distill_eval.schema.export import Agreement, Continuation, Parity

NUM_GREEDY = 64
"""Tokens that both write, or as many as the model takes behind the prompt."""
_PROMPTS = 2
"""Texts behind which they do."""
_BATCH = 4
"""Texts of different lengths in one batch, one of each length."""
_STEPS = 16
"""Tokens of each text that are appended one by one."""
_SHARES = (1, 2, 4, 8)
_NO_CACHE = "a classifier reads each text once and keeps no KV cache"
_NO_TEXT = "a classifier writes no text"
_NUMBERS = "the model gives numbers (regression), of which none is an answer and which are no distribution"
_LABELS = "each label is decided by itself (multi-label), so that there is no one answer and no distribution over them"
_CHOICE = ("top1_agreement", "num_ties", "mean_kl")


def cut(samples: Samples) -> list[list[int]]:
    """The texts of a causal language model at several lengths: all, a half, a quarter, an eighth, in turn."""
    return [ids.tolist()[: len(ids) // share] for ids, share in zip(samples.ids, cycle(_SHARES), strict=False)]


def causal_parity(original: LogitModel, exported: GenaiModel, samples: Samples) -> Parity:
    """Logits at once, in a padded batch and from the KV cache, and the text that both write.

    Raises:
        ModelError: the exported model cannot be run, or gives NaN.
    """
    texts = cut(samples)
    whole, padded, cached = Tally(), Tally(), Tally()
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        together = exported.logits_padded(batch)
        for ids, batched_TV in zip(batch, together, strict=True):
            original_TV = original.logits(ids)
            whole.add(original_TV, exported.logits(ids), length=len(ids))
            padded.add(original_TV[: len(batched_TV)], batched_TV, length=len(ids))
            steps = min(_STEPS, len(ids) - 1)
            cached.add(original_TV[-steps:], exported.logits_stepwise(ids, steps), length=len(ids))
    return Parity(
        text=samples.facts,
        whole=whole.finish(),
        padded=padded.finish(),
        cached=cached.finish(),
        greedy=tuple(_continue(original, exported, ids[: len(ids) // 2]) for ids in texts[:_PROMPTS]),
        reasons={},
    )


def _continue(original: LogitModel, exported: GenaiModel, prompt: Sequence[int]) -> Continuation:
    num_tokens = min(NUM_GREEDY, original.max_length - len(prompt), exported.max_length - len(prompt))
    theirs, ours = original.greedy(prompt, num_tokens), exported.greedy(prompt, num_tokens)
    return Continuation(
        num_prompt_tokens=len(prompt),
        num_tokens=len(theirs),
        first_difference=first_difference(theirs, ours),
        original=original.tokenizer.decode(theirs),
        exported=original.tokenizer.decode(ours),
    )


def classifier_parity(model: Any, exported: OnnxEncoder, tokenizer: Any, samples: Samples) -> Parity:
    """Logits of each text alone, and in padded batches.

    Raises:
        ModelError: the exported model cannot be run, or gives NaN.
    """
    texts = [ids.tolist() for ids in samples.ids]
    why = why_no_choice(model.config)
    whole, padded = Tally(is_choice=why is None), Tally(is_choice=why is None)
    for start in range(0, len(texts), _BATCH):
        batch = texts[start : start + _BATCH]
        together_BL = exported.run(pad(tokenizer, batch))
        for row, ids in enumerate(batch):
            encoded = pad(tokenizer, [ids])
            with torch.inference_mode():
                original_1L: Tensor = model(**encoded).logits
            whole.add(original_1L, exported.run(encoded), length=len(ids))
            padded.add(original_1L, together_BL[row : row + 1], length=len(ids))
    return Parity(
        text=samples.facts,
        whole=whole.finish(),
        padded=padded.finish(),
        cached=None,
        greedy=(),
        reasons={"cached": _NO_CACHE, "greedy": _NO_TEXT} | ({} if why is None else dict.fromkeys(_CHOICE, why)),
    )


def why_no_choice(model_config: Any) -> str | None:
    """Why a classifier's logits are not those of one answer among several; `None` if they are."""
    kind = getattr(model_config, "problem_type", None)
    if kind == "multi_label_classification":
        return _LABELS
    return _NUMBERS if kind == "regression" or model_config.num_labels == 1 else None


def pad(tokenizer: Any, texts: Sequence[Sequence[int]]) -> Mapping[str, Tensor]:
    """Token ids of texts, special ones included, as the tensors [B, T] that the model takes."""
    rows = [{"input_ids": list(ids), "attention_mask": [1] * len(ids)} for ids in texts]
    if "token_type_ids" in tokenizer.model_input_names:
        rows = [row | {"token_type_ids": [0] * len(row["input_ids"])} for row in rows]
    padded: Mapping[str, Tensor] = tokenizer.pad(rows, return_tensors="pt")
    return dict(padded)


def require_same(parity: Parity, say: Callable[[str], Any]) -> None:
    """Refuse an fp32 export that is not the same model.

    Raises:
        ModelError: its logits differ by more than the noise of float32.
    """
    ways: dict[str, Agreement | None] = {
        "each text at once": parity.whole,
        "in padded batches": parity.padded,
        "token by token from the KV cache": parity.cached,
    }
    for way, found in ways.items():
        problem = None if found is None else fp32_problem(found)
        if problem is not None:
            raise ModelError(f"the exported model is not the original: {way}, {problem}. Nothing was written")
    say("parity: the exported model agrees with the original in float32")
