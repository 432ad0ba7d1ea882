"""The student continues the data's prompts itself, and its own text becomes the batch (GKD, arXiv 2306.13649).

Shapes: B rows, T positions, P positions of a prompt, G generated tokens, V vocabulary.

What is sampled follows from the weights, the seed, the step and the number of a row alone: every row has its own stream
of random numbers, and torch's global generators are left alone. So it does not matter how a step is cut into forward
passes or shared out to processes, and a resumed run samples what the uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor

from distill_eval.distill.blocks import IGNORED, Collator, Row
from distill_eval.distill.kept_rows import sample_rows
from distill_eval.distill.lesson import TextLesson
from distill_eval.distill.on_policy_config import OnPolicyConfig
from distill_eval.distill.text import end_of_text


class Prompt(NamedTuple):
    """A part of a row that can be continued."""

    start: int
    end: int
    """Behind its last position."""


class Written(NamedTuple):
    """A batch of the student's own text."""

    batch: dict[str, Tensor]
    """As of `blocks.Collator` with `none`; the continuations alone are scored."""
    lengths: list[int]
    """Tokens of every continuation, its end-of-text included."""


def find_prompts(row: Mapping[str, Tensor], *, prompt_length: int, max_length: int) -> list[Prompt]:
    """All prompts of a row: what stands before each answer, and the beginning of each text.

    Where the first token of a document (or of a later window of one) is followed by one to predict, it is a text: its
    prompt is its first tokens, at most half of it. An answer begins where predictions begin later on.

    Args:
        row: `position_ids` and `shift_labels` [T], on the CPU.
        prompt_length: Tokens of a text's prompt at most.
        max_length: A prompt that leaves no room below this is left out.
    """
    scored_T = row["shift_labels"].numpy() != IGNORED
    starts = np.flatnonzero(row["position_ids"].numpy() == 0).tolist()
    found = []
    for start, end in zip(starts, [*starts[1:], len(scored_T)], strict=True):
        places = start + np.flatnonzero(scored_T[start:end])
        if len(places) and places[0] == start:
            half = max(1, (int(places[-1]) - start + 1) // 2)
            found.append(Prompt(start, start + min(prompt_length, half)))
        found += [Prompt(start, int(place) + 1) for place in places if place > start and not scored_T[place - 1]]
    return [prompt for prompt in found if prompt.end - prompt.start < max_length]


class Draw(LogitsProcessor):
    """Makes the most likely token the one that a given random number draws from the distribution."""

    def __init__(self, uniform_BG: Tensor, temperature: float) -> None:
        """Keep the numbers.

        Args:
            uniform_BG: In [0, 1), float64: one for every token that may be drawn.
            temperature: Divides the logits.
        """
        self._uniform_BG, self._temperature, self._place = uniform_BG, temperature, 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] that are 0 for the drawn token and minus infinity for the others."""
        del input_ids
        log_probs_BV = (scores.float() / self._temperature).log_softmax(-1)
        drawn_B1 = sample_rows(log_probs_BV, self._uniform_BG[:, self._place].to(scores.device), 1).ids_NK
        self._place += 1
        return torch.full_like(scores, -torch.inf).scatter_(-1, drawn_B1, 0.0)


class OwnText:
    """Turns batches of the data into batches of the student's own text."""

    def __init__(
        self,
        lesson: TextLesson,
        config: OnPolicyConfig,
        *,
        seed: int,
        max_length: int,
        pad_id: int,
        end_ids: Sequence[int],
    ) -> None:
        """Prepare.

        Args:
            lesson: Of the student that writes.
            config: How often, and how much.
            seed: Of the run.
            max_length: Tokens of a row at most.
            pad_id: Any id of the vocabulary.
            end_ids: Tokens that end a text or an answer.
        """
        self._lesson, self._config, self._seed = lesson, config, seed
        self._max_length, self._collate = max_length, Collator("none", pad_id)
        self._generation = GenerationConfig(
            max_new_tokens=config.max_new_tokens,
            do_sample=False,  # `Draw` samples
            use_cache=True,
            pad_token_id=pad_id,
            eos_token_id=list(end_ids),
        )

    def is_chosen(self, step: int) -> bool:
        """Whether the student writes the rows of this step: alike in every process."""
        return bool(self._random(step, 0).random() < self._config.on_policy)

    def write(self, batch: Mapping[str, Tensor], step: int) -> Written:
        """Continue one prompt of every row, drawn among its prompts; a row without one scores nothing.

        Args:
            batch: Of `blocks.Collator`.
            step: Of the optimizer.
        """
        names = ("input_ids", "position_ids", "shift_labels", "index")
        rows: list[Row] = [
            dict(zip(names, parts, strict=True)) for parts in zip(*(batch[name].cpu() for name in names), strict=True)
        ]
        prompts, numbers = [], []
        for row in rows:
            random = self._random(step, 1 + int(row["index"]))
            found = find_prompts(row, prompt_length=self._config.prompt_length, max_length=self._max_length)
            start, end = found[int(random.integers(len(found)))] if found else (0, 0)
            prompts.append(row["input_ids"][start:end])
            numbers.append(torch.from_numpy(random.random(self._config.max_new_tokens)))
        wanted = [place for place, prompt in enumerate(prompts) if len(prompt)]
        new = [torch.zeros(0, dtype=torch.int64)] * len(rows)
        if wanted:
            given, uniform_BG = [prompts[place] for place in wanted], torch.stack(numbers)[wanted]
            for place, new_G in zip(wanted, self._continue(given, uniform_BG, batch["input_ids"].device), strict=True):
                new[place] = new_G
        made = [_row(row, prompt, new_G) for row, prompt, new_G in zip(rows, prompts, new, strict=True)]
        return Written(self._collate(made), list(map(len, new)))

    def _random(self, *key: int) -> np.random.Generator:
        """Keys have one length: numpy fills a shorter one up with zeros, which is no other key."""
        return np.random.default_rng([self._seed, *key])

    def _continue(self, prompts: Sequence[Tensor], uniform_BG: Tensor, device: torch.device) -> list[Tensor]:
        """What the student writes behind every prompt, up to its end-of-text, `max_new_tokens` or the row's length.

        Prompts of the same room are continued together: a model with learned positions has none behind a row's length.
        """
        rooms = [min(self._config.max_new_tokens, self._max_length - len(prompt)) for prompt in prompts]
        made: dict[int, Tensor] = {}
        for room in sorted(set(rooms)):
            places = [place for place, other in enumerate(rooms) if other == room]
            given = [prompts[place] for place in places]
            made |= zip(places, self._generate(given, uniform_BG[places], room, device), strict=True)
        return [made[place] for place in range(len(prompts))]

    def _generate(self, prompts: Sequence[Tensor], uniform_BG: Tensor, room: int, device: torch.device) -> list[Tensor]:
        longest = max(map(len, prompts))
        ids_BP = torch.full((len(prompts), longest), self._collate.pad_id)
        mask_BP = torch.zeros_like(ids_BP)
        for row, prompt in enumerate(prompts):  # on the left: new tokens come behind all of them
            ids_BP[row, longest - len(prompt) :] = prompt
            mask_BP[row, longest - len(prompt) :] = 1
        with self._lesson.native() as student:
            output = student.generate(
                input_ids=ids_BP.to(device),
                attention_mask=mask_BP.to(device),
                generation_config=self._generation,
                max_new_tokens=room,
                logits_processor=[Draw(uniform_BG, self._config.sampling_temperature)],
            )
        return [self._until_end(new_G) for new_G in output[:, longest:].cpu()]

    def _until_end(self, new_G: Tensor) -> Tensor:
        """Up to the first end-of-text: what stands behind it is padding, which may be the same token."""
        ends = torch.isin(new_G, torch.tensor(self._generation.eos_token_id)).nonzero()
        return new_G[: int(ends[0]) + 1] if len(ends) else new_G


def end_ids(tokenizer: Any, generation_config: Any) -> list[int]:
    """The tokens after which the student has said everything: the tokenizer's EOS, and those it generates with."""
    named = getattr(generation_config, "eos_token_id", None)
    others = named if isinstance(named, list) else [] if named is None else [named]
    return sorted({end_of_text(tokenizer), *map(int, others)})


def _row(source: Row, prompt_P: Tensor, new_G: Tensor) -> Row:
    """Prompt and continuation, whose last token is only predicted; without a prompt one token that predicts nothing."""
    if not len(prompt_P):
        prompt_P = source["input_ids"][:1]
    ids_T = torch.cat([prompt_P, new_G[:-1]])
    labels_T = torch.cat([torch.full_like(prompt_P, IGNORED)[len(new_G[:1]) :], new_G])
    positions_T = torch.arange(len(ids_T))
    return {"input_ids": ids_T, "position_ids": positions_T, "shift_labels": labels_T, "index": source["index"]}
