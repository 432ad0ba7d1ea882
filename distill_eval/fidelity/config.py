"""The command lines of `distill-eval fidelity` and `distill-eval peek`."""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path

from distill_eval.engine import Dtype, Engine
from distill_eval.errors import UsageError, require
from distill_eval.record import record
from distill_eval.schema.fidelity import Scored
from distill_eval.schema.model import ModelRef


@record
class FidelityConfig:
    """How close models' distributions over the next token are to a reference's, on a text."""

    reference: str
    """Hub name (org/name or org/name@revision) or folder of the model to be held against."""
    candidate: tuple[str, ...]
    """Models to hold against it: Hub names or folders, plain, quantized or exported."""
    text: str
    """Text to measure on: .txt, .jsonl, .parquet or .csv file, folder, or Hub data set; a .txt is read as it is."""
    text_subset: str | None = None
    """Subset (config) of a Hub data set, e.g. wikitext-2-raw-v1."""
    text_split: str = "test"
    """Split of a Hub data set."""
    text_column: str = "text"
    """Column that holds the text."""
    text_samples: int = 32
    """Chunks of text, from its beginning."""
    text_length: int = 512
    """Tokens per chunk, as many as llama.cpp takes by default."""
    scored: Scored = "second-half"
    """Positions of a chunk that count: second-half as in llama.cpp, or all."""
    dtype: Dtype = "auto"
    """What plain models are run in; auto is that of their files."""
    device: str = "auto"
    """Where to run: auto, cpu, cuda or cuda:N."""
    engine: Engine | None = None
    """What runs the candidates (default: onnx for exported folders, else hf)."""
    top_k: int = 64
    """Most likely tokens of the reference that are kept for each position, beside a sample of the others."""
    seed: int = 0
    """Of that sample."""
    continuations: int = 8
    """Greedy texts to compare with a model of another tokenizer."""
    continuation_tokens: int = 32
    """Tokens of each."""
    output_dir: Path = field(default_factory=lambda: Path("fidelity"))
    """Where fidelity.json and fidelity.md go."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.reference)
        _check_models(self.candidate, "--candidate")
        for option, value, least in (
            ("--text-samples", self.text_samples, 1),
            ("--text-length", self.text_length, 4),
            ("--top-k", self.top_k, 5),
            ("--continuations", self.continuations, 1),
            ("--continuation-tokens", self.continuation_tokens, 1),
            ("--seed", self.seed, 0),
        ):
            require(value >= least, f"{option} {value}: expected {least} or more")


@record
class PeekConfig:
    """The next token's most likely candidates under each model and temperature: what dark knowledge looks like."""

    model: tuple[str, ...]
    """Models to ask: Hub names or folders."""
    prompt: str
    """Text whose next token is looked at."""
    temperature: tuple[str, ...] = ("1", "2", "4")
    """Temperatures that the logits are divided by."""
    top_k: int = 10
    """Tokens to show."""
    dtype: Dtype = "auto"
    """What plain models are run in; auto is that of their files."""
    device: str = "auto"
    """Where to run: auto, cpu, cuda or cuda:N."""
    json: bool = False
    """Print one JSON object instead of tables."""

    def __post_init__(self) -> None:
        _check_models(self.model, "--model")
        require(self.prompt != "", "--prompt is empty: type the text whose next token is to be looked at")
        require(self.top_k >= 1, f"--top-k {self.top_k}: expected 1 or more")
        _ = self.temperatures

    @property
    def temperatures(self) -> tuple[float, ...]:
        """As numbers.

        Raises:
            UsageError: one is none, or not above 0.
        """
        return tuple(map(_temperature, self.temperature))


def _check_models(names: tuple[str, ...], option: str) -> None:
    require(any(names) and all(names), f"{option} {','.join(names)!r}: expected a model, or several, e.g. A,B")
    for name in names:
        ModelRef.parse(name)
    twice = {name for name in names if names.count(name) > 1}
    require(not twice, f"{option}: {', '.join(sorted(twice))} is named twice")


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"--temperature {text!r}: expected numbers above 0, e.g. 1,2,4") from None
    require(0 < value < math.inf, f"--temperature {text}: expected numbers above 0, e.g. 1,2,4")
    return value
