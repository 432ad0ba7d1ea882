"""A live teacher's answers to the scored positions of a batch, for `teacher_cache`: chunks, never all [N, V] at once.

Shapes: N scored positions, C of a chunk, V vocabulary, L layers, D hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from distill_eval.distill.blocks import IGNORED
from distill_eval.distill.features import layer_rows
from distill_eval.distill.isolation import Isolation, forward_inputs
from distill_eval.distill.targets import DenseTarget, LiveTeacher
from distill_eval.distill.teacher_cache import Batch, Said
from distill_eval.head import read_head

CHUNK_ROWS = 512
"""Rows that are projected onto the vocabulary at a time."""


def ask(
    model: Any, *, temperature: float | None, layers: Sequence[int], vocab_size: int, isolation: Isolation
) -> Callable[[Batch], Iterator[Said]]:
    """Asks a causal language model for log-probabilities [C, V], softened and in float32, and hidden states [C, L, D].

    Args:
        model: Of transformers, in evaluation mode.
        temperature: Divides the logits; `None` asks for hidden states alone.
        layers: Whose outputs are hidden states, from 0; that of the last is behind the final norm. Possibly none.
        vocab_size: The student's vocabulary; a teacher with more entries (padding) is cut to it and renormalized.
        isolation: What keeps documents apart in this model (`isolation.find_isolation`).

    Raises:
        ModelError: the model has no vocabulary projection to read.
    """
    head = read_head(model)

    @torch.inference_mode()  # on a generator it is left at every yield; a `with` inside would not be
    def answer(batch: Batch) -> Iterator[Said]:
        inputs, scored_BT = _inputs(model, batch, isolation)
        output = model.base_model(**inputs, output_hidden_states=bool(layers))
        last_ND = output.last_hidden_state[scored_BT]
        states = list(layer_rows(output.hidden_states, layers, scored_BT).values()) if layers else []
        target = DenseTarget((LiveTeacher(last_ND, head),))
        for start in range(0, len(last_ND), CHUNK_ROWS):
            rows = slice(start, min(start + CHUNK_ROWS, len(last_ND)))
            log_probs_CV = None
            if temperature is not None:
                log_probs_CV = target.open(rows, vocab_size).log_probs(slice(None), temperature)
            yield Said(log_probs_CV, torch.stack([layer[rows] for layer in states], dim=1) if states else None)

    return answer


def _inputs(model: Any, batch: Batch, isolation: Isolation) -> tuple[dict[str, Any], Tensor]:
    moved = {name: value.to(model.device) for name, value in batch.items()}
    return forward_inputs(moved, isolation), moved["shift_labels"] != IGNORED
