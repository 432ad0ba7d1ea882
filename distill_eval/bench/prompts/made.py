"""Prompts of random words: alone, or behind a common beginning."""

from __future__ import annotations

import math

import numpy as np

from distill_eval.bench.prompt_config import (
    DEFAULT_NUM_PREFIXES,
    DEFAULT_OUTPUT_LEN,
    DEFAULT_PREFIX_LEN,
    DEFAULT_RANDOM_INPUT_LEN,
    DEFAULT_SUFFIX_LEN,
)
from distill_eval.bench.prompts.asked import Asked
from distill_eval.bench.prompts.words import Words
from distill_eval.schema.timing import Prompt

_TEXTS, _PREFIXES = range(2)
"""Draws of their own."""


def random_prompts(asked: Asked) -> list[Prompt]:
    """Input and output lengths are drawn evenly from the range around those asked for."""
    config, words, found = asked.config, Words(asked.tokenizer), []
    ratio = config.random_range_ratio or 0.0
    for index in range(asked.num):
        rng = asked.rng(_TEXTS, index)
        length = _around(config.random_input_len or DEFAULT_RANDOM_INPUT_LEN, ratio, rng)
        answer = _around(config.random_output_len or DEFAULT_OUTPUT_LEN, ratio, rng)
        found.append(asked.prompt(words.exact(length, rng), answer))
    words.tell(asked.say)
    return found


def prefix_prompts(asked: Asked) -> list[Prompt]:
    """Beginnings take turns; all prompts of one share exactly its tokens, so that a prefix cache can keep them.

    vLLM sends the prompts of one beginning after those of another, shuffled, and drops what does not divide evenly.
    """
    config, words = asked.config, Words(asked.tokenizer)
    length = config.prefix_repetition_prefix_len or DEFAULT_PREFIX_LEN
    total = length + (config.prefix_repetition_suffix_len or DEFAULT_SUFFIX_LEN)
    num_prefixes = min(config.prefix_repetition_num_prefixes or DEFAULT_NUM_PREFIXES, asked.num)
    prefixes = [words.exact(length + words.num_behind, asked.rng(_PREFIXES, at)) for at in range(num_prefixes)]
    found = []
    for index in range(asked.num):
        text = words.exact(total, asked.rng(_TEXTS, index), prefix=prefixes[index % num_prefixes], num_prefix=length)
        found.append(asked.prompt(text, asked.output_len))
    words.tell(asked.say)
    return found


def _around(length: int, ratio: float, rng: np.random.Generator) -> int:
    low, high = max(1, math.floor(length * (1 - ratio))), math.ceil(length * (1 + ratio))
    return int(rng.integers(low, high, endpoint=True))
