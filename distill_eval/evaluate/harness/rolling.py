"""Whole texts as lm-eval's windows of the model's context length, and their log-likelihoods added up again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lm_eval import utils

if TYPE_CHECKING:
    from distill_eval.evaluate.harness.requests import Recorder
    from distill_eval.evaluate.scorer.packed import LogLikelihood


class RollingTexts:
    """The windows of all texts; hands a text on as soon as the last of its windows is scored."""

    def __init__(self, texts: Sequence[list[int]], *, prefix_token: int, max_length: int, recorder: Recorder) -> None:
        """Cut the texts.

        Args:
            texts: Token ids of each text.
            prefix_token: What the first token of a text follows.
            max_length: The model's context length in tokens.
            recorder: Knows the texts that are done, and hears of the others.
        """
        self.windows: list[tuple[list[int], list[int]]] = []
        """(context, continuation) of each."""
        self._owner: list[int] = []
        self._recorder = recorder
        self._of_text: dict[int, list[int]] = {}
        for text, tokens in enumerate(texts):
            found = utils.get_rolling_token_windows(
                token_list=tokens, prefix_token=prefix_token, max_seq_len=max_length, context_len=1
            )
            for window in map(utils.make_disjoint_window, found):
                self._of_text.setdefault(text, []).append(len(self.windows))
                self.windows.append(window)
                self._owner.append(text)
        self.done = frozenset(window for window, text in enumerate(self._owner) if text in recorder.done)
        """Windows of the texts that are done."""
        self._scores: dict[int, float] = {}
        recorder.record({text: 0.0 for text in range(len(texts)) if text not in self._of_text})

    def add(self, scores: dict[int, LogLikelihood]) -> None:
        """Record the texts whose last missing window has come."""
        self._scores.update((window, score.logprob) for window, score in scores.items())
        complete: dict[int, float] = {}
        for text in {self._owner[window] for window in scores}:
            windows = self._of_text[text]
            if all(window in self._scores for window in windows):
                complete[text] = math.fsum(self._scores[window] for window in windows)
        if complete:
            self._recorder.record(complete)
