"""Tokenize texts that share long beginnings, each beginning once.

A few-shot prompt is the same text up to its last question, and its options differ in their last words. A fast
tokenizer first cuts a text into words by a regular expression and then encodes each word alone, so the tokens before
a space between two letters do not depend on what follows it. Texts are therefore cut there, and only the rest is
encoded. That this holds for a tokenizer is not assumed: see `IncrementalEncoder`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from distill_eval.evaluate.scorer.tree import common_prefix

CUT = re.compile(r"(?<=[A-Za-z]) (?=[A-Za-z])")
WINDOW = 400
"""How many characters before the first difference are searched for a place to cut."""

NUM_CHECKS = 16
"""The first so many spliced encodings are compared with the direct ones."""


class IncrementalEncoder:
    """Encodes like `direct`, reusing the tokens of the previous text up to a cut.

    It falls back to `direct` for good when the tokenizer is not a fast one, adds anything but leading tokens, has no
    word boundaries, or gives one of the first spliced encodings otherwise than `direct` does; and for a single text
    when the tokens behind the cut are not the end of the previous text's tokens.
    """

    def __init__(self, tokenizer: Any, direct: Callable[[str], list[int]]) -> None:
        self._direct = direct
        self._fast = getattr(tokenizer, "backend_tokenizer", None)
        self._checks_left = NUM_CHECKS
        self._text = ""
        self._ids: list[int] = []
        self.is_incremental = self._fast is not None and self._fast.pre_tokenizer is not None and self._only_leads()

    def __call__(self, text: str) -> list[int]:
        """The token ids of `text`, special tokens included."""
        ids = self._spliced(text) if self.is_incremental else None
        if ids is None:
            ids = self._direct(text)
        elif self._checks_left:
            self._checks_left -= 1
            expected = self._direct(text)
            if ids != expected:
                self.is_incremental, ids = False, expected
        self._text, self._ids = text, ids
        return ids

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids  # type: ignore[union-attr]
        return ids

    def _only_leads(self) -> bool:
        """Whether special tokens, if any, stand only in front."""
        probe = "One two three"
        plain, whole = self._plain(probe), self._direct(probe)
        return whole[len(whole) - len(plain) :] == plain

    def _spliced(self, text: str) -> list[int] | None:
        """Old tokens up to a cut in the shared beginning, then the rest encoded anew; `None`: not possible."""
        shared = common_prefix(self._text, text)
        cuts = [match.start() for match in CUT.finditer(text, max(0, shared - WINDOW), max(0, shared - 1))]
        if not cuts:
            return None
        cut = cuts[-1]
        old_rest = self._plain(self._text[cut:])
        kept = len(self._ids) - len(old_rest)
        if kept < 0 or self._ids[kept:] != old_rest:
            return None
        return self._ids[:kept] + self._plain(text[cut:])
