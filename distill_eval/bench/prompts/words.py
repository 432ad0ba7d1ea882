"""Text without sense that has exactly so many tokens: token ids drawn, decoded, encoded again and mended."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distill_eval.bench.prompts.asked import count
from distill_eval.errors import require

MAX_TRIES = 20
"""Mendings of one text; nearly all need none or one."""
ENOUGH_WORDS = 500
_MARKED = re.compile(r"[\u0120\u2581][A-Za-z]{2,}")
"""A word with the space before it, in the spelling of byte-level and of SentencePiece vocabularies."""
_PLAIN = re.compile(r"[a-z]{2,}")
"""A word of WordPiece, which puts spaces between words itself."""


class Words:
    """The tokens of a vocabulary of which text is made.

    Whole words are taken where there are enough of them, since they stay the tokens that they were when the text is
    encoded again; a tokenizer without words gives any of its tokens that are text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        special = set(tokenizer.all_special_ids)
        vocabulary = sorted((number, word) for word, number in tokenizer.get_vocab().items() if number not in special)
        words = [[number for number, word in vocabulary if kind.fullmatch(word)] for kind in (_MARKED, _PLAIN)]
        enough = next((found for found in words if len(found) >= ENOUGH_WORDS), None)
        self._are_words = enough is not None
        self._ids = np.array(enough or [number for number, _ in vocabulary if self._is_text(number)])
        require(len(self._ids) > 0, "the first model's tokenizer has no tokens of text to draw from: name a data set")
        self.num_before, self.num_behind = self._added()
        """Tokens that the tokenizer adds to every text, e.g. BOS before it."""
        self._missed: list[int] = []

    def exact(self, num_tokens: int, rng: np.random.Generator, *, prefix: str = "", num_prefix: int = 0) -> str:
        """A text of so many tokens, those that the tokenizer adds included.

        After `MAX_TRIES` it may miss the length by a few tokens; `tell` says so.

        Args:
            num_tokens: Of the whole text.
            rng: Draws.
            prefix: What it begins with.
            num_prefix: Tokens of that, those included that the tokenizer adds before it. The whole text begins with
                them.

        Raises:
            UsageError: the length leaves no room.
        """
        room = num_tokens - max(num_prefix, self.num_before) - self.num_behind
        least = num_tokens - room + 1
        require(room > 0, f"prompts of {num_tokens} tokens: expected {least} or more; the tokenizer adds some to each")
        head = self._body(prefix) if prefix else []
        ids, text, off = self._draw(room, rng), prefix, room
        for _ in range(MAX_TRIES):
            text = prefix + self._decode(ids, after=prefix)
            body, off = self._body(text), count(self._tokenizer, text) - num_tokens
            if body[: len(head)] != head:  # the prefix's end grew into what follows
                ids = self._draw(room, rng)
            elif off > 0:
                ids = body[len(head) : -off] or self._draw(1, rng)
            elif off < 0:
                ids = [*body[len(head) :], *self._draw(-off, rng)]
            else:
                break
        if off:
            self._missed.append(abs(off))
        return text

    def tell(self, say: Callable[[str], Any]) -> None:
        """Say how many texts missed their length, if any did."""
        if self._missed:
            say(
                f"{len(self._missed)} random texts miss the length asked for, by up to {max(self._missed)} tokens: "
                "this tokenizer makes other tokens of a text than those it was made of"
            )

    def _draw(self, num: int, rng: np.random.Generator) -> list[int]:
        found: list[int] = rng.choice(self._ids, num).tolist()
        return found

    def _decode(self, ids: Sequence[int], *, after: str) -> str:
        text = str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        # Some decoders drop the space at the beginning of a text.
        return f" {text}" if after and self._are_words and not text.startswith(" ") else text

    def _body(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return found

    def _added(self) -> tuple[int, int]:
        """How many tokens are added before a text, and behind it."""
        sample = self._decode([int(self._ids[0])], after="")
        whole, body = self._tokenizer(sample, verbose=False)["input_ids"], self._body(sample)
        before = next((at for at in range(len(whole)) if whole[at : at + len(body)] == body), 0)
        return before, len(whole) - len(body) - before

    def _is_text(self, number: int) -> bool:
        text = str(self._tokenizer.decode([number]))
        return text.isprintable() and text.isascii() and bool(text.strip())
