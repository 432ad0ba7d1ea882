"""What a benchmark sends: prompts drawn from a seed, the same for every model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill_eval.bench.prompt_config import PromptConfig
from distill_eval.bench.prompts import datasets, made, sonnet, trace
from distill_eval.bench.prompts.asked import Asked
from distill_eval.errors import require
from distill_eval.record import to_json_line
from distill_eval.schema.bench import PromptSource
from distill_eval.schema.timing import Prompt

_KINDS: dict[str, Callable[[Asked], list[Prompt]]] = {
    "random": made.random_prompts,
    "prefix": made.prefix_prompts,
    "sharegpt": datasets.sharegpt_prompts,
    "sonnet": sonnet.sonnet_prompts,
    "hf": datasets.dataset_prompts,
    "trace": trace.trace_prompts,
}


def draw(
    config: PromptConfig,
    tokenizer: Any,
    num_prompts: int,
    seed: int,
    *,
    say: Callable[[str], Any] = lambda line: None,
) -> tuple[Prompt, ...]:
    """The prompts of one measurement; a longer draw of random ones or of a trace begins with those of a shorter one.

    Args:
        config: What was asked for.
        tokenizer: Of the first model; it counts.
        num_prompts: How many.
        seed: Of the draw.
        say: Takes a line for the reader, e.g. when random prompts miss their length.

    Raises:
        UsageError: the data cannot be had, has too few prompts, or a length leaves no room.
    """
    require(num_prompts >= 1, f"--num-prompts {num_prompts}: expected 1 or more")
    return tuple(_KINDS[config.dataset_name](Asked(config, tokenizer, num_prompts, seed, say)))


def check_contexts(prompts: Sequence[Prompt], contexts: Mapping[str, int]) -> None:
    """Refuse prompts that a model does not read to the end of their answer, before anything is sent.

    Args:
        prompts: All that will be sent.
        contexts: Tokens that each model reads, by name; at least one.

    Raises:
        UsageError: prompt and answer together are longer than the shortest context.
    """
    name, length = min(contexts.items(), key=lambda item: item[1])
    for number, prompt in enumerate(prompts, 1):
        total = prompt.num_tokens + prompt.max_tokens
        require(
            total <= length,
            f"prompt {number} of {len(prompts)} has {prompt.num_tokens:,} tokens and asks for {prompt.max_tokens:,}: "
            f"{total:,} together, and {name} reads {length:,}. It begins with {prompt.text[:40]!r}. Ask for shorter "
            "prompts or answers, or raise --max-model-len where the model allows it",
        )


def source(kind: str, prompts: Sequence[Prompt], *, ignore_eos: bool, seed: int) -> PromptSource:
    """What was sent, for the record.

    Args:
        kind: `PromptConfig.dataset_name`.
        prompts: In order; at least one.
        ignore_eos: Whether answers had the full length.
        seed: That they were drawn from.
    """
    lengths, answers = [prompt.num_tokens for prompt in prompts], [prompt.max_tokens for prompt in prompts]
    lines = "".join(map(to_json_line, prompts))
    return PromptSource(
        kind=kind,
        num_prompts=len(prompts),
        num_prompt_tokens=(min(lengths), max(lengths)),
        max_tokens=(min(answers), max(answers)),
        ignore_eos=ignore_eos,
        seed=seed,
        digest=hashlib.sha256(lines.encode("utf-8", "surrogatepass")).hexdigest(),
    )
