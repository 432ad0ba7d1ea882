"""Requests as somebody's service had them: when they came, and how long they were."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from distill_eval.bench.prompts.asked import Asked
from distill_eval.bench.prompts.files import json_lines, local_file, text_of
from distill_eval.bench.prompts.words import Words
from distill_eval.errors import UsageError, require
from distill_eval.schema.timing import Prompt

TIMES = {"offset_s": 1.0, "timestamp": 1e-3, "TIMESTAMP": 1e-3}
"""Where a time stands, and the seconds of its unit where it is a number and no date: Mooncake counts milliseconds,
Azure gives dates."""
INPUTS = ("input_length", "ContextTokens")
OUTPUTS = ("output_length", "GeneratedTokens")
"""As in Mooncake's and Azure's published traces."""


class _Line(NamedTuple):
    where: str
    """For messages."""
    values: Mapping[str, Any]

    def find(self, names: tuple[str, ...]) -> str | None:
        """The first of these that has a value."""
        return next((name for name in names if self.values.get(name) not in (None, "")), None)


def trace_prompts(asked: Asked) -> list[Prompt]:
    """The first requests of a trace, with times that count from the earliest; those without a text get random words.

    Raises:
        UsageError: the file cannot be had, a line lacks a time or a length, or there are too few.
    """
    words, found = Words(asked.tokenizer), list[Prompt]()
    lines = [(_seconds(line), line) for line in islice(_lines(asked), asked.num)]
    if len(lines) < asked.num:
        raise asked.too_few(len(lines), "requests")
    lines.sort(key=lambda pair: pair[0])
    for index, (seconds, line) in enumerate(lines):
        text = line.values.get("prompt")
        require(text is None or isinstance(text, str), f"{line.where}: prompt is no text")
        length, answer = _length(line, INPUTS), _length(line, OUTPUTS)
        if not text and length is None:
            raise UsageError(f"{line.where} has neither a prompt nor a length: expected one of {', '.join(INPUTS)}")
        max_tokens = asked.config.output_len or answer or asked.output_len
        found.append(
            asked.prompt(text or words.exact(length or 0, asked.rng(index)), max_tokens, seconds - lines[0][0])
        )
    words.tell(asked.say)
    if any(line.values.get("hash_ids") for _, line in lines):
        asked.say("the trace's hash_ids are not replayed: its prompts share no beginnings here")
    asked.say(f"the trace's {len(found)} requests come within {found[-1].offset_s:.1f} s")
    return found


def _lines(asked: Asked) -> Iterator[_Line]:
    path = local_file(asked)
    if path.suffix.lower() == ".csv":
        rows: Iterator[tuple[int, Any]] = enumerate(csv.DictReader(io.StringIO(text_of(path, asked.said))), 2)
    else:
        rows = json_lines(path, asked.said)
    for number, values in rows:
        yield _Line(f"{asked.said}, line {number}", values)


def _seconds(line: _Line) -> float:
    """Since a begin that is the same for all lines."""
    name = line.find(tuple(TIMES))
    if name is None:
        raise UsageError(
            f"{line.where} has no time: expected one of {', '.join(TIMES)}; it has {', '.join(line.values)}"
        )
    value = line.values[name]
    try:
        seconds = float(value) * TIMES[name]
    except (TypeError, ValueError):
        seconds = _date(str(value), f"{line.where}: {name}")
    require(bool(np.isfinite(seconds)), f"{line.where}: {name} is {value}, expected a finite number")
    return seconds


def _date(value: str, where: str) -> float:
    try:
        found = datetime.fromisoformat(value)
    except ValueError as error:
        raise UsageError(f"{where} is {value!r}: expected a number, or a date like 2023-11-16 18:15:46.68") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _length(line: _Line, names: tuple[str, ...]) -> int | None:
    name = line.find(names)
    if name is None:
        return None
    try:
        value = int(line.values[name])
    except (TypeError, ValueError):
        value = 0
    require(value >= 1, f"{line.where}: {name} is {line.values[name]!r}, expected 1 or more tokens")
    return value
