"""Prompts of whole lines of a text file, as vLLM's benchmarks made them of Shakespeare's sonnets."""

from __future__ import annotations

from distill_eval.bench.prompt_config import DEFAULT_SONNET_INPUT_LEN, DEFAULT_SONNET_PREFIX_LEN
from distill_eval.bench.prompts.asked import Asked, count
from distill_eval.bench.prompts.files import local_file, text_of
from distill_eval.errors import require
from distill_eval.schema.timing import Prompt

_TASK = "Pick as many lines as you can from these poem lines:\n"
"""Of vLLM's benchmarks."""


def sonnet_prompts(asked: Asked) -> list[Prompt]:
    """The same first lines, then lines drawn, as many as have room.

    vLLM counted with the mean length of a line and missed the length by some tokens on both sides; here a prompt is
    never longer than asked, and at most a line shorter.

    Raises:
        UsageError: the file cannot be had or has no lines, or none has room.
    """
    lines = [line for line in text_of(local_file(asked), asked.said).splitlines() if line.strip()]
    require(bool(lines), f"{asked.said} has no lines of text")
    room = asked.config.sonnet_input_len or DEFAULT_SONNET_INPUT_LEN
    prefix_room = asked.config.sonnet_prefix_len
    if prefix_room is None:
        prefix_room = min(DEFAULT_SONNET_PREFIX_LEN, room)
    require(prefix_room <= room, f"--sonnet-prefix-len {prefix_room}: expected at most --sonnet-input-len {room}")

    def num_tokens(chosen: list[str]) -> int:
        return count(asked.tokenizer, _TASK + "\n".join(chosen))

    first: list[str] = []
    while len(first) < len(lines) and num_tokens([*first, lines[len(first)]]) <= prefix_room:
        first.append(lines[len(first)])
    found = []
    for index in range(asked.num):
        rng, chosen = asked.rng(index), list(first)
        while num_tokens([*chosen, line := lines[int(rng.integers(len(lines)))]]) <= room:
            chosen.append(line)
        require(bool(chosen), f"--sonnet-input-len {room}: no line has room; one takes {num_tokens([line])} tokens")
        found.append(asked.prompt(_TASK + "\n".join(chosen), asked.output_len))
    return found
