"""The graph written, by whichever exporter, and held against the original before anything is published."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from distill_eval.calibration import Samples
from distill_eval.engine import GENAI_CONFIG, hf
from distill_eval.errors import ModelError, StoreError, boundary
from distill_eval.export import builder, optimum
from distill_eval.export.config import ExportConfig
from distill_eval.export.older import older_config, write_folder
from distill_eval.export.original import Original, copy_small_files, embedding_bytes, load_classifier
from distill_eval.schema.export import Graph, Parity

Say = Callable[[str], Any]
GRAPH = builder.GRAPH
"""All exporters call it so."""


class Job(NamedTuple):
    """What is asked, and everything that was found out before any work."""

    config: ExportConfig
    original: Original
    source: Path
    rounding: builder.Rounding | None
    optimum: optimum.Optimum | None
    """Which writes the graph; `None` for the exporters of this environment."""
    samples: Samples
    dtype: str


class Made(NamedTuple):
    """An exported folder and what was measured of it."""

    graph: Graph
    parity: Parity
    seconds: float
    num_parameters: int
    original_embedding_bytes: int


def make_causal(job: Job, built: Path, scratch: Path, say: Say) -> Made:
    """A causal language model; the original is loaded behind the exporter, so that it is in memory once."""
    from distill_eval.engine import genai
    from distill_eval.export.graph import is_builders_table, read_graph, table_names
    from distill_eval.export.parity import causal_parity, require_same

    began = time.monotonic()
    if job.optimum is None:
        _build(job, built, scratch, say)
        is_table: Callable[[str], bool] = is_builders_table
    else:
        _take(_by_optimum(job, scratch, say), built)
        _describe(job, built)
        is_table = table_names(built / GRAPH).__contains__
    seconds = time.monotonic() - began
    say(f"comparing with the original on {len(job.samples.ids)} texts")
    original = hf.load(job.source, name=str(job.original.ref), dtype="float32")
    parity = causal_parity(original, genai.load(built, name="the exported model"), job.samples)
    if job.config.precision == "fp32":
        require_same(parity, say)
    model = original.model
    graph = read_graph(built / GRAPH, is_table)
    return Made(graph, parity, seconds, model.num_parameters(), embedding_bytes(model, job.dtype))


def make_classifier(job: Job, built: Path, scratch: Path, say: Say) -> Made:
    """A sequence classifier."""
    from distill_eval.export.graph import read_graph

    write = _write_classifier if job.optimum is None else _write_classifier_by_optimum
    model, seconds = write(job, built, scratch, say)
    parity = _compare_classifier(job, model, built, say, must_agree=job.config.precision == "fp32")
    table = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is table)
    graph = read_graph(built / GRAPH, lambda weight: weight.startswith(name))
    return Made(graph, parity, seconds, model.num_parameters(), table.numel() * itemsize(job.dtype))


def itemsize(dtype: str) -> int:
    """Bytes of one number."""
    return int(getattr(torch, dtype).itemsize)


def _build(job: Job, built: Path, scratch: Path, say: Say) -> None:
    say(f"building the graph in {job.config.precision}")
    builder.build(
        job.source,
        built,
        scratch / "builder",
        precision=job.config.precision,
        rounding=job.rounding,
        w8a8=job.config.is_w8a8,
        device=job.config.device,
        tied=bool(getattr(job.original.config, "tie_word_embeddings", False)),
    )


def _write_classifier(job: Job, built: Path, scratch: Path, say: Say) -> tuple[Any, float]:
    """By transformers' own exporter; the model in float32, and seconds from loading it to the written graph."""
    from distill_eval.export import classifier
    from distill_eval.export.parity import pad

    say(f"building the graph in {job.config.precision}")
    began = time.monotonic()
    model = load_classifier(job.original.ref, job.source)
    example = pad(job.original.tokenizer, [ids.tolist() for ids in job.samples.ids[:2]])
    classifier.export(model, example, job.source, built, scratch, job.config.precision)
    return model, time.monotonic() - began


def _write_classifier_by_optimum(job: Job, built: Path, scratch: Path, say: Say) -> tuple[Any, float]:
    """As above. What becomes int8 is compared before it does, else a wrong graph would be billed to the rounding."""
    from distill_eval.export import classifier

    began = time.monotonic()
    written = _by_optimum(job, scratch, say)
    seconds = time.monotonic() - began
    model = load_classifier(job.original.ref, job.source)
    if job.config.precision == "int8":
        _compare_classifier(job, model, written, say, must_agree=True)
        began = time.monotonic()
        classifier.quantize(written / GRAPH, built / GRAPH, classifier.float32_bytes(model))
        seconds += time.monotonic() - began
    else:
        _take(written, built)
    copy_small_files(job.source, built)
    return model, seconds


def _by_optimum(job: Job, scratch: Path, say: Say) -> Path:
    """The folder that optimum wrote, in float32."""
    assert job.optimum is not None
    say(f"optimum {job.optimum.version} builds the graph, with transformers {job.optimum.transformers}")
    folder, written = scratch / "model", scratch / "optimum"
    original, output = job.original, job.config.output_dir.expanduser().resolve()
    with boundary(StoreError, f"cannot write {folder}"):
        write_folder(job.source, older_config(original.config.to_dict(), str(original.ref)), folder)
    log = output.with_name(f"{output.name}.optimum.log")
    optimum.write_graph(job.optimum, folder, written, original.kind, log=log)
    return written


def _take(written: Path, built: Path) -> None:
    """Move the graph and its weights; what else optimum writes is the other transformers' view of the model."""
    with boundary(StoreError, f"cannot write {built}"):
        for file in written.glob(f"{GRAPH}*"):
            file.rename(built / file.name)


def _describe(job: Job, built: Path) -> None:
    """Make a graph of optimum's a folder that ONNX Runtime GenAI runs."""
    from distill_eval.export.genai_config import genai_config

    with boundary(ModelError, f"the folder of {str(job.original.ref)!r} cannot be completed"):
        copy_small_files(job.source, built)
        path = built / "generation_config.json"
        generation = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        config = genai_config(built / GRAPH, job.original.config, job.original.tokenizer, generation)
        (built / GENAI_CONFIG).write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")


def _compare_classifier(job: Job, model: Any, folder: Path, say: Say, *, must_agree: bool) -> Parity:
    from distill_eval.engine.encoder import OnnxEncoder
    from distill_eval.export.parity import classifier_parity, require_same

    say(f"comparing with the original on {len(job.samples.ids)} texts")
    exported = OnnxEncoder(folder, job.config.device)
    parity = classifier_parity(model, exported, job.original.tokenizer, job.samples)
    if must_agree:
        require_same(parity, say)
    return parity
