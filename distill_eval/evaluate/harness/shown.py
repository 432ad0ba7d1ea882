"""What the models were given for one document, as a person can read it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

MOST_CHARS = 2000
"""That are kept of a prompt, its last ones: the document itself stands at the end, behind the few-shot examples."""
MOST_OPTION_CHARS = 500
CUT = "..."


class Shown(NamedTuple):
    """A prompt, and the options that it was continued with."""

    prompt: str | None
    options: tuple[str, ...]


def shown(output_type: str, requests: Sequence[tuple[Any, ...]], num_options: int | None) -> Shown:
    """Of the arguments of a document's requests, in lm-eval's order; nothing of a text that is scored as a whole.

    A prompt followed by one of the options is what was scored, but for what was cut. Where the options stand within
    the prompt and their common continuation is scored (as in winogrande), the prompt ends before the word in which
    they differ.
    """
    if output_type == "loglikelihood_rolling" or not requests:
        return Shown(None, ())
    if output_type != "multiple_choice":
        return Shown(_end(str(requests[0][0])), ())
    offered = requests[:num_options]  # behind them acc_mutual_info asks for the options without a prompt
    contexts = [str(context) for context, *_ in offered]
    prompt = contexts[0] if len(set(contexts)) == 1 else _shared_words(contexts)
    options = [context[len(prompt) :] + str(rest[0]) for context, *rest in offered]
    return Shown(_end(prompt), tuple(_begin(option) for option in options))


def _shared_words(texts: Sequence[str]) -> str:
    """The words with which all of them begin, without the space behind the last."""
    num_same = sum(1 for _ in itertools.takewhile(lambda chars: len(set(chars)) == 1, zip(*texts, strict=False)))
    return texts[0][: max(0, texts[0].rfind(" ", 0, num_same))]


def _end(text: str) -> str:
    return text if len(text) <= MOST_CHARS else CUT + text[-MOST_CHARS:]


def _begin(text: str) -> str:
    return text if len(text) <= MOST_OPTION_CHARS else text[:MOST_OPTION_CHARS] + CUT
