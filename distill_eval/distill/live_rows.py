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
from distill_eval.distill.teacher_cache import Batch
from distill_eval.head import read_head

CHUNK_ROWS = 512
"""Rows that are projected onto the vocabulary at a time."""


def softened(
    model: Any, *, temperature: float, vocab_size: int, isolation: Isolation
) -> Callable[[Batch], Iterator[Tensor]]:
    """Asks a causal language model for log-probabilities [C, V], softened and in float32.

    Args:
        model: Of transformers, in evaluation mode.
        temperature: Divides the logits.
        vocab_size: The student's vocabulary; a teacher with more entries (padding) is cut to it and renormalized.
        isolation: What keeps documents apart in this model (`isolation.find_isolation`).

    Raises:
        ModelError: the model has no vocabulary projection to read.
    """
    head = read_head(model)

    @torch.inference_mode()  # on a generator it is left at every yield; a `with` inside would not be
    def answer(batch: Batch) -> Iterator[Tensor]:
        inputs, scored_BT = _inputs(model, batch, isolation)
        hidden_ND = model.base_model(**inputs).last_hidden_state[scored_BT]
        target = DenseTarget((LiveTeacher(hidden_ND, head),))
        for start in range(0, len(hidden_ND), CHUNK_ROWS):
            rows = slice(start, min(start + CHUNK_ROWS, len(hidden_ND)))
            yield target.open(rows, vocab_size).log_probs(slice(None), temperature)

    return answer


def hidden(model: Any, layers: Sequence[int], *, isolation: Isolation) -> Callable[[Batch], Iterator[Tensor]]:
    """Asks a causal language model for the outputs of these layers [C, L, D]; that of the last is behind its norm.

    Args:
        model: Of transformers, in evaluation mode.
        layers: From 0.
        isolation: As for `softened`.
    """

    @torch.inference_mode()
    def answer(batch: Batch) -> Iterator[Tensor]:
        inputs, scored_BT = _inputs(model, batch, isolation)
        states = model.base_model(**inputs, output_hidden_states=True).hidden_states
        yield torch.stack(list(layer_rows(states, layers, scored_BT).values()), dim=1)

    return answer


def _inputs(model: Any, batch: Batch, isolation: Isolation) -> tuple[dict[str, Any], Tensor]:
    moved = {name: value.to(model.device) for name, value in batch.items()}
    return forward_inputs(moved, isolation), moved["shift_labels"] != IGNORED
