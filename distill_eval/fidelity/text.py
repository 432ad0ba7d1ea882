"""The text to measure on, cut into chunks as llama.cpp's perplexity tool cuts it.

The text is tokenized as a whole and cut into chunks of equally many tokens. The first token of each is replaced by the
one that begins a text, where the tokenizer puts one in front. In each chunk of n tokens the positions n // 2 .. n - 2
are scored: their next tokens, each with more than n // 2 tokens in front of it (function `kl_divergence` in
tools/perplexity/perplexity.cpp of ggml-org/llama.cpp: `first = n_ctx/2`, `n_ctx - 1 - first` tokens per chunk).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from distill_eval.calibration import TextSource, documents, samples_of
from distill_eval.errors import ModelError, UsageError, boundary
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.fidelity import Scored

_CHARS_PER_TOKEN = 5
"""Of text that is read at first; more is read where that was not enough."""


class Chunk(NamedTuple):
    """A piece of the text."""

    ids: list[int]
    """Its tokens as the reference reads them."""
    first: int
    """The first position that is scored: it predicts token `first + 1`."""
    before: str
    """The text in front of the first token that is predicted."""
    scored: str
    """The text of the tokens that are predicted."""

    def targets(self) -> torch.Tensor:
        """Ids of the tokens that are predicted [N]."""
        return torch.tensor(self.ids[self.first + 1 :])

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of the tokens that are predicted."""
        return len(self.scored.encode())


class Text(NamedTuple):
    """All chunks."""

    facts: Calibration
    whole: str
    """The text from which they were cut."""
    ids: list[int]
    """Its tokens."""
    chunks: list[Chunk]

    def num_bytes(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """UTF-8 bytes that are predicted in each chunk [C]."""
        return np.array([chunk.num_bytes for chunk in self.chunks], dtype=np.float64)


def cut(source: TextSource, tokenizer: Any, scored: Scored, *, name: str) -> Text:
    """Read as much text as is needed, and cut it.

    Args:
        source: What to read; a .txt file as it is, other documents with a line break between them.
        tokenizer: Of the reference.
        scored: Which positions count.
        name: The reference, as the user named it.

    Raises:
        UsageError: the text cannot be had, has no such column, or is too short.
        ModelError: the tokenizer does not say where its tokens are.
    """
    num, length = source.num_samples, source.length
    whole, ids, ends = _tokens(source, tokenizer, name)
    starts_with = tokenizer.bos_token_id if ids[:1] == [tokenizer.bos_token_id] else None
    first = length // 2 if scored == "second-half" else 0
    chunks = []
    for start in range(0, num * length, length):
        piece = ids[start : start + length]
        if starts_with is not None:
            piece[0] = starts_with
        begin, middle, end = ends[start - 1] if start else 0, ends[start + first], ends[start + length - 1]
        chunks.append(Chunk(piece, first, whole[begin:middle], whole[middle:end]))
    facts = samples_of(source, [torch.tensor(chunk.ids) for chunk in chunks]).facts
    return Text(facts, whole, ids, chunks)


def same_tokens(text: Text, tokenizer: Any, reference: Any) -> bool:
    """Whether a tokenizer cuts this text as the reference's does, into tokens of the same numbers and names."""
    same: bool = tokenizer.get_vocab() == reference.get_vocab() and encode(text.whole, tokenizer) == text.ids
    return same


def encode(text: str, tokenizer: Any) -> list[int]:
    """Token ids, with those that begin a text and without the one that ends it."""
    ids: list[int] = tokenizer(text, verbose=False)["input_ids"]
    return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids


def locate_tokens(text: str, tokenizer: Any, name: str) -> tuple[list[int], list[int]]:
    """Token ids as `encode` gives them, and where in the text each of them ends.

    Raises:
        ModelError: the tokenizer does not say that.
    """
    if not tokenizer.is_fast:
        raise ModelError(f"the tokenizer of {name} does not say where its tokens are: expected tokenizer.json")
    found = tokenizer(text, return_offsets_mapping=True, verbose=False)
    ids, ends = found["input_ids"], [end for _, end in found["offset_mapping"]]
    last = -1 if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else len(ids)
    return ids[:last], ends[:last]


def _tokens(source: TextSource, tokenizer: Any, name: str) -> tuple[str, list[int], Sequence[int]]:
    """Text, its tokens, and where in it each of them ends; at least as many as are needed."""
    needed = source.num_samples * source.length
    parts = _parts(source)
    whole, wanted = "", needed * _CHARS_PER_TOKEN
    while True:
        taken = []
        for part in parts:
            taken.append(part)
            wanted -= len(part)
            if wanted <= 0:
                break
        whole += "".join(taken)
        ids, ends = locate_tokens(whole, tokenizer, name)
        if len(ids) >= needed:
            return whole, ids, ends
        if not taken:
            raise UsageError(_too_short(source, len(ids)))
        wanted = (needed - len(ids)) * _CHARS_PER_TOKEN


def _parts(source: TextSource) -> Any:
    path = Path(source.source).expanduser()
    if path.is_file() and path.suffix.lower() == ".txt":
        with boundary(UsageError, f"{source.said} cannot be read"):
            return iter(path.read_bytes().decode("utf-8").splitlines(keepends=True))
    return (document + "\n" for document in documents(source))


def _too_short(source: TextSource, num_tokens: int) -> str:
    enough = num_tokens // source.length
    hint = f"{source.option}-samples {enough}" if enough else f"{source.option}-length {max(4, num_tokens)}"
    return (
        f"{source.said} has {num_tokens:,} tokens, and {source.num_samples} chunks of {source.length} need "
        f"{source.num_samples * source.length:,}: name more text, or type {hint}"
    )
