"""Models that cut text into other tokens: what can still be compared is text.

Shapes: C chunks, T tokens, S scored tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from distill_eval.engine import LogitModel
from distill_eval.errors import ModelError
from distill_eval.fidelity.rows import log_probs
from distill_eval.fidelity.statistics import bits_per_byte
from distill_eval.fidelity.text import Chunk, encode, locate_tokens
from distill_eval.schema.fidelity import Continuation, Continuations, Estimate
from distill_eval.tell import Each


class Said(NamedTuple):
    """A greedy continuation."""

    text: str
    ended: bool
    """Whether the model ended it, rather than the limit on its tokens."""


def measure_bytes(model: LogitModel, chunks: Sequence[Chunk], each: Each, name: str) -> Estimate:
    """Bits per byte of the scored text, as the model's own tokenizer cuts it.

    Text in front and scored text are tokenized together. A token across the cut between them counts whole, with its
    bytes.

    Raises:
        ModelError: a chunk has more tokens than the model reads, or the tokenizer does not say where they are.
    """
    nats, num_bytes = [], []
    for chunk in each(f"{name}, chunks", chunks):
        ids, first, size = _encode(chunk, model.tokenizer, name)
        if len(ids) > model.max_length:
            raise ModelError(
                f"{name} cuts a chunk into {len(ids):,} tokens and reads {model.max_length:,}: lower --text-length"
            )
        rows_SV = log_probs(model.logits(ids[:-1])[first - 1 :])
        nats.append(-sum(float(row_V[token]) for row_V, token in zip(rows_SV, ids[first:], strict=True)))
        num_bytes.append(size)
    return bits_per_byte(np.array(nats)[:, None], np.array(num_bytes, dtype=np.float64))


def _encode(chunk: Chunk, tokenizer: Any, name: str) -> tuple[list[int], int, int]:
    """Ids, the place of the first that is scored (never 0: something predicts it), and bytes of the scored ones."""
    text = chunk.before + chunk.scored
    ids, ends = locate_tokens(text, tokenizer, name)
    first = next((place for place, end in enumerate(ends) if place and end > len(chunk.before)), len(ids) - 1)
    return ids, first, len(text[ends[first - 1] :].encode())


def continuations(model: LogitModel, chunks: Sequence[Chunk], num_tokens: int) -> list[Said]:
    """What the model goes on with behind the unscored text of each chunk."""
    said = []
    for chunk in chunks:
        before = encode(chunk.before, model.tokenizer)
        found = model.greedy(before, num_tokens)
        said.append(Said(_text(before, found, model.tokenizer), len(found) < num_tokens))
    return said


def _text(before: list[int], found: list[int], tokenizer: Any) -> str:
    """A text goes on where it was: some tokenizers drop the space before the first token that they are given."""

    def text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    start, whole = text(before), text(before + found)
    return whole[len(start) :] if whole.startswith(start) else text(found)


def compare(reference: Sequence[Said], candidate: Sequence[Said], num_tokens: int) -> Continuations:
    """Lay the texts of two models side by side.

    Texts have as many tokens, not as many characters: where one stops at its limit, the rest of the other says nothing.
    """
    texts = tuple(
        Continuation(
            chunk=number, reference=one.text, candidate=other.text, first_difference=first_difference(one, other)
        )
        for number, (one, other) in enumerate(zip(reference, candidate, strict=True))
    )
    places = [text.first_difference for text in texts if text.first_difference is not None]
    return Continuations(
        num_tokens=num_tokens,
        texts=texts,
        agreement=1 - len(places) / len(texts),
        median_first_difference=float(median(places)) if places else None,
    )


def first_difference(one: Said, other: Said) -> int | None:
    """Characters before the first that differs; `None` where one merely stops earlier at its limit."""
    pairs = zip(one.text, other.text, strict=False)
    same = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
    if same is not None or one.text == other.text:
        return same
    shorter = min(one, other, key=lambda said: len(said.text))
    return len(shorter.text) if shorter.ended else None
