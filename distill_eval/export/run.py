"""Export a model, and prove on text that the exported folder is that model, before the folder appears."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval import checkpoint
from distill_eval.calibration import Samples, TextSource, draw_documents, draw_pieces
from distill_eval.device import choose_device
from distill_eval.engine import hf
from distill_eval.errors import ModelError, StoreError, require
from distill_eval.export import builder
from distill_eval.export.config import ExportConfig
from distill_eval.export.original import Original, embedding_bytes, load_classifier, read_original
from distill_eval.provenance import collect, package_version
from distill_eval.record import to_json
from distill_eval.schema.export import ExportRun, Graph, Kind, Parity
from distill_eval.schema.model import ModelRef
from distill_eval.store.folder import beside, publish, require_free

ARTIFACT = "export.json"
INSTALL = "pip install 'distill-eval[onnx]'"
_NEEDED: dict[Kind, tuple[str, ...]] = {
    "causal": ("onnx", "onnx_ir", "onnxruntime", "onnxruntime_genai"),
    "classifier": ("onnx", "onnxscript", "onnxruntime"),
}
_SHARE_OF_FP32 = {"fp32": 1.0, "fp16": 0.5, "int8": 0.5, "int4": 0.25}
"""Disk that is taken at most on the way: an embedding may stay in float32."""
_SHARE_OF_W8A8 = 1.0
"""The graph is there in float32 first."""


class _Job(NamedTuple):
    """What is asked, and everything that was found out before any work."""

    config: ExportConfig
    original: Original
    source: Path
    rounding: builder.Rounding | None
    samples: Samples
    dtype: str


class _Made(NamedTuple):
    """An exported folder and what was measured of it."""

    graph: Graph
    parity: Parity
    seconds: float
    num_parameters: int
    original_embedding_bytes: int


def run(
    config: ExportConfig,
    *,
    argv: Sequence[str],
    say: Callable[[str], Any] = print,
    describe: Callable[[ExportRun], Mapping[str, str]] = lambda _: {},
) -> ExportRun:
    """Write the exported folder with its `export.json`, whole or not at all, and return that record.

    Args:
        config: What is asked.
        argv: The command line, for the record.
        say: Takes lines for the reader.
        describe: More files to write beside the record, by name: what it says, for people.

    Raises:
        UsageError: what is asked does not fit the model, the text cannot be had, the output folder is in use, or a
            package is missing.
        ModelError: the model cannot be had, is quantized already, cannot be exported, or is not the same in fp32.
        StoreError: the output folder cannot be written, or there is no space.
    """
    output = config.output_dir.expanduser()
    require_free(output)
    job = _prepare(config)
    with beside(output) as scratch:
        _check_space(job, scratch.parent)
        built = scratch / "exported"
        built.mkdir()
        make = _make_causal if job.original.kind == "causal" else _make_classifier
        done = _record(job, make(job, built, scratch, say), argv)
        publish(built, output, {ARTIFACT: to_json(done), **describe(done)})
    return done


def _prepare(config: ExportConfig) -> _Job:
    """Everything that can be refused is refused here."""
    choose_device(config.device)
    ref = ModelRef.parse(config.model)
    original = read_original(ref)
    missing = [name for name in _NEEDED[original.kind] if find_spec(name) is None]
    require(not missing, f"export needs {', '.join(missing)}, not installed here. Type: {INSTALL}")
    rounding = None
    if original.kind == "causal":
        builder.check_architecture(original.architecture, str(ref), original.config)
        rounding = builder.choose_rounding(config, original.config)
    else:
        _check_classifier(config, original)
    longest = getattr(original.config, "max_position_embeddings", None)
    require(
        longest is None or config.text_length <= longest,
        f"--text-length {config.text_length}: the model takes {longest} tokens",
    )
    draw = draw_pieces if original.kind == "causal" else draw_documents
    samples = draw(_text(config), original.tokenizer)
    source = checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role="model")
    return _Job(config, original, source, rounding, samples, _dtype(original.config))


def _check_classifier(config: ExportConfig, original: Original) -> None:
    what = f"{str(original.ref)!r} is a {original.architecture}"
    require(
        config.precision in ("fp32", "int8"),
        f"--precision {config.precision}: {what}, which ONNX Runtime quantizes to int8 (weights, and activations as "
        "they come); its 4-bit products are made for decoding. Type --precision int8 or fp32",
    )
    require(
        config.int8_algorithm is None,
        f"--int8-algorithm {config.int8_algorithm}: {what}, whose int8 is ONNX Runtime's own; leave it out",
    )
    for option, value in (("--block-size", config.block_size), ("--accuracy-level", config.accuracy_level)):
        require(value is None, f"{option} {value}: {what}, whose weights have no blocks; leave it out")
    if original.tokenizer.pad_token_id is None:
        raise ModelError(
            f"{what} whose tokenizer has no pad_token: texts of different lengths cannot be read at once. Set "
            "pad_token in its tokenizer_config.json (often that of eos_token), and pad_token_id in its config.json"
        )


def _text(config: ExportConfig) -> TextSource:
    return TextSource(
        source=config.text,
        num_samples=config.text_samples,
        length=config.text_length,
        subset=config.text_subset,
        split=config.text_split,
        column=config.text_column,
        seed=config.seed,
        option="--text",
    )


def _check_space(job: _Job, folder: Path) -> None:
    """Refuse when the disk cannot hold what is to be written."""
    in_float32 = 4 / _itemsize(job.dtype) * checkpoint.weight_bytes(job.source)
    share = _SHARE_OF_W8A8 if job.config.is_w8a8 else _SHARE_OF_FP32[job.config.precision]
    needed, free = int(in_float32 * share), shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"no space: --precision {job.config.precision} needs up to {needed / 1e6:,.0f} MB below {folder}, where "
            f"{free / 1e6:,.0f} MB are free. Name another --output-dir"
        )


def _make_causal(job: _Job, built: Path, scratch: Path, say: Callable[[str], Any]) -> _Made:
    """By ONNX Runtime GenAI's builder; the original is loaded behind it, so that it is in memory once."""
    from distill_eval.engine import genai
    from distill_eval.export.graph import read_graph
    from distill_eval.export.parity import causal_parity, require_same

    config, tied = job.config, bool(getattr(job.original.config, "tie_word_embeddings", False))
    say(f"building the graph in {config.precision}")
    began = time.monotonic()
    builder.build(
        job.source,
        built,
        scratch / "builder",
        precision=config.precision,
        rounding=job.rounding,
        w8a8=config.is_w8a8,
        device=config.device,
        tied=tied,
    )
    seconds = time.monotonic() - began
    say(f"comparing with the original on {len(job.samples.ids)} texts")
    original = hf.load(job.source, name=str(job.original.ref), dtype="float32")
    parity = causal_parity(original, genai.load(built, name="the exported model"), job.samples)
    if config.precision == "fp32":
        require_same(parity, say)
    model = original.model
    return _Made(
        read_graph(built / builder.GRAPH), parity, seconds, model.num_parameters(), embedding_bytes(model, job.dtype)
    )


def _make_classifier(job: _Job, built: Path, scratch: Path, say: Callable[[str], Any]) -> _Made:
    """By transformers' own exporter."""
    from distill_eval.engine.encoder import GRAPH, OnnxEncoder
    from distill_eval.export import classifier
    from distill_eval.export.graph import read_graph
    from distill_eval.export.parity import classifier_parity, pad, require_same

    config, tokenizer = job.config, job.original.tokenizer
    say(f"building the graph in {config.precision}")
    began = time.monotonic()
    model = load_classifier(job.original.ref, job.source)
    example = pad(tokenizer, [ids.tolist() for ids in job.samples.ids[:2]])
    classifier.export(model, example, job.source, built, scratch, config.precision)
    seconds = time.monotonic() - began
    say(f"comparing with the original on {len(job.samples.ids)} texts")
    exported = OnnxEncoder(built, config.device)
    parity = classifier_parity(model, exported, tokenizer, job.samples)
    if config.precision == "fp32":
        require_same(parity, say)
    table = model.get_input_embeddings().weight
    name = next(name for name, parameter in model.named_parameters() if parameter is table)
    graph = read_graph(built / GRAPH, (name,))
    return _Made(graph, parity, seconds, model.num_parameters(), table.numel() * _itemsize(job.dtype))


def _record(job: _Job, made: _Made, argv: Sequence[str]) -> ExportRun:
    config, original, causal = job.config, job.original, job.original.kind == "causal"
    package = "onnxruntime-genai" if causal else "transformers"
    return ExportRun(
        model=original.ref,
        model_commit=checkpoint.hub_commit(job.source),
        architecture=original.architecture,
        kind=original.kind,
        dtype=job.dtype,
        num_parameters=made.num_parameters,
        original_size_bytes=checkpoint.weight_bytes(job.source),
        original_embedding_bytes=made.original_embedding_bytes,
        format=config.format,
        precision=config.precision,
        exporter=f"{package} {package_version(package)}",
        execution_provider=config.device,
        algorithm=_algorithm(job),
        block_size=None if job.rounding is None else job.rounding.block_size,
        accuracy_level=None if job.rounding is None else job.rounding.accuracy_level,
        graph=made.graph,
        seconds=made.seconds,
        parity=made.parity,
        provenance=collect(argv, config.device, ("onnx", "onnxruntime", "onnxruntime-genai")),
    )


def _algorithm(job: _Job) -> str | None:
    if job.rounding is not None:
        return job.rounding.algorithm
    if not job.config.is_quantized:
        return None
    return "w8a8" if job.config.is_w8a8 else "dynamic"


def _dtype(config: Any) -> str:
    return str(config.dtype or "float32").removeprefix("torch.")


def _itemsize(dtype: str) -> int:
    import torch

    return int(getattr(torch, dtype).itemsize)
