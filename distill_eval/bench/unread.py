"""Options that nothing would read are refused: who typed one takes it for what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.bench.config import BenchConfig
from distill_eval.bench.entries import Entry
from distill_eval.errors import UsageError
from distill_eval.record import changed

_FROM = ("from_timings", "output_dir", "load.goodput")
_OF_VLLM = ("prefix_caching", "enforce_eager", "max_model_len", "servers")
_OF_SERVERS = ("timeout", "max_tries", "api")
_OF_ENDPOINTS = ("endpoint", "tokenizer", "api_key_variable")


def check_from(config: BenchConfig) -> None:
    """Refuse what cannot be asked of timings that are there already.

    Raises:
        UsageError: an option besides `--from`, `--output-dir` and `--goodput` is given.
    """
    _refuse([name for name in changed(config) if name not in _FROM], "--from: what was measured is in the file")


def check_rows(config: BenchConfig, rows: Sequence[Entry]) -> None:
    """Refuse options that nothing which runs these models would read.

    Raises:
        UsageError: one is given.
    """
    given, runners = tuple(changed(config)), {row.runner for row in rows}
    if rows[0].is_classifier:
        unread = (*_OF_VLLM, *_OF_SERVERS, *_OF_ENDPOINTS, *(name for name in given if name.startswith("load.")))
        _refuse([name for name in given if name in unread], f"{rows[0].name} reads whole texts, batch by batch")
        return
    _refuse([name for name in given if name == "batch_size"], "it is of classifiers, and these models write")
    if "endpoint" in runners:
        unread = ("gpu", "cpu", "dtype", "enforce_eager")
        _refuse([name for name in given if name in unread], "--endpoint: the server runs already")
        return
    _refuse(
        [name for name in given if name in _OF_ENDPOINTS], "it is of --endpoint; models that run here have their own"
    )
    if "vllm" not in runners and "auto" not in config.engine:  # else it is for where there is a vLLM
        unread = (*_OF_VLLM, *_OF_SERVERS)
        _refuse([name for name in given if name in unread], f"no model is served: {rows[0].runner} runs them")


def _refuse(names: Sequence[str], why: str) -> None:
    if names:
        options = ", ".join(f"--{name.rpartition('.')[2].replace('_', '-')}" for name in names)
        raise UsageError(f"{options}: nothing would read {'it' if len(names) == 1 else 'them'} ({why}). Leave out")
