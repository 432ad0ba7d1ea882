"""What the plan of a recipe knows from the stages that it is of: size, training, tasks and requests (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from distill_eval.bench.config import DEFAULT_CONCURRENCY
from distill_eval.bench.prompt_config import DEFAULT_OUTPUT_LEN, DEFAULT_RANDOM_INPUT_LEN
from distill_eval.distill.config import TrainingConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.errors import require
from distill_eval.plan.config import LOADED_AS

Table = dict[str, Any]
_OF_TRAINING: Table = {field.name: field.default for field in fields(TrainingConfig)}
_OF_DATA: Table = {field.name: field.default for field in fields(DataConfig)}
"""What `distill` does where a recipe does not say."""
_SOURCES = {dtype: source for source, dtype in LOADED_AS.items()}
"""A teacher's dtype in a recipe, and what a plan calls it."""


def planned(table: Mapping[str, Any], own: Mapping[str, Any], source: str) -> Table:
    """The table [plan] with what the others say; what it says itself counts.

    Args:
        table: The recipe's.
        own: Its [plan].
        source: The recipe's name, for messages.

    Raises:
        UsageError: nothing says how many parameters the student has.
    """
    tasks = _tasks(table, detects="detect" in own)
    found = {**_size(table, own, source), **({} if {*tasks} & own.keys() else tasks), **own}
    for name, known in (("training", _training(table)), ("serving", _serving(table))):
        inner = own.get(name, {})
        found[name] = {**known, **inner} if isinstance(inner, dict) else inner
    return found


def _size(table: Mapping[str, Any], own: Mapping[str, Any], source: str) -> Table:
    """Parameters of the student, by a chain or a target; a student of given sizes is the plan's to tell."""
    if {"ratio", "target_params"} & own.keys():
        return {}
    prepare, chain = _table(table, "prepare"), table.get("chain")
    if isinstance(chain, list) and chain:
        return {"target_params": chain[-1]}
    if "target_params" in prepare:
        return {"target_params": prepare["target_params"]}
    share = prepare.get("ratio")
    require(
        "ratio" in prepare,
        f"{source}: plan: how small is the student? Neither chain nor [prepare] says how many parameters it has: add "
        'ratio = 2.0 (the teacher\'s over its own), or target_params = "67M", to the table [plan]',
    )
    return {"ratio": 1 / share} if isinstance(share, int | float) and share > 0 else {}


def _tasks(table: Mapping[str, Any], *, detects: bool) -> Table:
    """What [compare] evaluates; a plan that says how many documents a drop takes is not of a limit."""
    evaluation = _table(_table(table, "compare"), "evaluation")
    names = ("tasks", "include_path") if detects else ("tasks", "limit", "include_path")
    return {name: evaluation[name] for name in names if name in evaluation}


def _training(table: Mapping[str, Any]) -> Table:
    """What [data], [distill] and [cache_teacher] say of the training that is planned."""
    data, distill = table.get("data"), table.get("distill")
    if not isinstance(data, dict) or not isinstance(distill, dict):
        return {}
    said = _OF_TRAINING | _table(distill, "training")
    said["max_length"] = data.get("max_length", _OF_DATA["max_length"])
    found: Table = {name: said[name] for name in ("batch_size", "max_length", "dtype", "gradient_checkpointing")}
    counts = [said.get(name) for name in ("steps", "batch_size", "accumulate", "max_length")]
    whole = [number for number in counts if isinstance(number, int)]
    held = "cached" if "cache_teacher" in table else _SOURCES.get(str(distill.get("teacher_dtype")), "bf16")
    return found | {"teacher_source": held} | ({"tokens": str(math.prod(whole))} if len(whole) == len(counts) else {})


def _serving(table: Mapping[str, Any]) -> Table:
    """What [bench] sends, where it sends prompts of one length to so many streams."""
    bench = table.get("bench")
    prompts, load = _table(bench, "prompts"), _table(bench, "load")
    if not isinstance(bench, dict) or prompts.get("dataset_name", "random") != "random":
        return {}
    lengths = {
        "input_len": prompts.get("random_input_len", DEFAULT_RANDOM_INPUT_LEN),
        "output_len": prompts.get("random_output_len", DEFAULT_OUTPUT_LEN),
    }
    streams = load.get("concurrency", [] if load else DEFAULT_CONCURRENCY)
    numbers = [int(one) for one in streams if str(one).isdecimal()] if isinstance(streams, list | tuple) else []
    return lengths | ({"concurrency": numbers} if numbers else {})


def _table(table: Any, name: str) -> Table:
    """A table inside of another; an empty one where there is none."""
    found = table.get(name) if isinstance(table, Mapping) else None
    return found if isinstance(found, dict) else {}
