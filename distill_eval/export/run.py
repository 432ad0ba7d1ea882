"""Export a model, and prove on text that the exported folder is that model, before the folder appears."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distill_eval import checkpoint
from distill_eval.calibration import TextSource, draw_documents, draw_pieces
from distill_eval.device import choose_device
from distill_eval.errors import ModelError, StoreError, require
from distill_eval.export import builder, optimum
from distill_eval.export.config import ExportConfig
from distill_eval.export.make import Job, Made, itemsize, make_causal, make_classifier
from distill_eval.export.older import older_config
from distill_eval.export.original import Original, read_original
from distill_eval.provenance import collect, package_version
from distill_eval.record import to_json
from distill_eval.schema.export import ExportRun, Kind
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
_OPTIMUMS_OWN = 1.0
"""And what optimum takes besides: it writes large weights twice, and what becomes int8 in float32 first."""


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
        make = make_causal if job.original.kind == "causal" else make_classifier
        done = _record(job, make(job, built, scratch, say), argv)
        publish(built, output, {ARTIFACT: to_json(done), **describe(done)})
    return done


def _prepare(config: ExportConfig) -> Job:
    """Everything that can be refused is refused here."""
    choose_device(config.device)
    ref = ModelRef.parse(config.model)
    original = read_original(ref)
    require_packages(original.kind)
    rounding = other = None
    if original.kind == "classifier":
        _check_classifier(config, original)
    elif config.exporter == "builtin":
        builder.check_architecture(original.architecture, str(ref), original.config)
        rounding = builder.choose_rounding(config, original.config)
    if config.optimum_cli is not None:
        _check_optimum(config, original)
        other = optimum.find(config.optimum_cli)
    longest = getattr(original.config, "max_position_embeddings", None)
    require(
        longest is None or config.text_length <= longest,
        f"--text-length {config.text_length}: the model takes {longest} tokens",
    )
    draw = draw_pieces if original.kind == "causal" else draw_documents
    samples = draw(_text(config), original.tokenizer)
    source = checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role="model")
    return Job(config, original, source, rounding, other, samples, _dtype(original.config))


def _check_classifier(config: ExportConfig, original: Original) -> None:
    what = f"{str(original.ref)!r} is a {original.architecture}"
    require(
        config.precision in ("fp32", "int8"),
        f"--precision {config.precision}: {what}, which ONNX Runtime quantizes to int8 (weights, and activations as "
        "they come); its 4-bit products are made for decoding. Type --precision int8 or fp32",
    )
    for option, value in (("--block-size", config.block_size), ("--accuracy-level", config.accuracy_level)):
        require(value is None, f"{option} {value}: {what}, whose weights have no blocks; leave it out")
    require(
        config.int8_algorithm is None,
        f"--int8-algorithm {config.int8_algorithm}: {what}, whose int8 is ONNX Runtime's own; leave it out",
    )
    if original.tokenizer.pad_token_id is None:
        raise ModelError(
            f"{what} whose tokenizer has no pad_token: texts of different lengths cannot be read at once. Set "
            "pad_token in its tokenizer_config.json (often that of eos_token), and pad_token_id in its config.json"
        )


def _check_optimum(config: ExportConfig, original: Original) -> None:
    older_config(original.config.to_dict(), str(original.ref))
    if original.kind == "classifier":
        return
    what = f"{str(original.ref)!r} is a {original.architecture}"
    require(
        config.precision == "fp32",
        f"--exporter optimum --precision {config.precision}: {what}, which it writes in fp32 alone. Leave --exporter "
        "out, or type --precision fp32",
    )
    if getattr(original.config, "max_position_embeddings", None) is None:
        raise ModelError(f"{what} without max_position_embeddings, which ONNX Runtime GenAI takes for its context")


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


def require_packages(kind: Kind | None) -> None:
    """Refuse an export of this kind of model where packages are not installed; of `None`, those that both kinds need.

    Raises:
        UsageError: which are not.
    """
    needed = _NEEDED[kind] if kind else [name for name in _NEEDED["causal"] if name in _NEEDED["classifier"]]
    missing = [name for name in needed if find_spec(name) is None]
    require(not missing, f"export needs {', '.join(missing)}, not installed here. Type: {INSTALL}")


def most_bytes(config: ExportConfig, in_float32: float) -> int:
    """Disk that an export takes at most on the way.

    Args:
        config: What is asked.
        in_float32: Bytes of the model's weights in float32.
    """
    share = _SHARE_OF_W8A8 if config.is_w8a8 else _SHARE_OF_FP32[config.precision]
    return int(in_float32 * (share + (0 if config.optimum_cli is None else _OPTIMUMS_OWN)))


def _check_space(job: Job, folder: Path) -> None:
    """Refuse when the disk cannot hold what is to be written."""
    in_float32 = 4 / itemsize(job.dtype) * checkpoint.weight_bytes(job.source)
    needed, free = most_bytes(job.config, in_float32), shutil.disk_usage(folder).free
    if free < needed:
        raise StoreError(
            f"no space: --precision {job.config.precision} needs up to {needed / 1e6:,.0f} MB below {folder}, where "
            f"{free / 1e6:,.0f} MB are free. Name another --output-dir"
        )


def _record(job: Job, made: Made, argv: Sequence[str]) -> ExportRun:
    config, original, causal = job.config, job.original, job.original.kind == "causal"
    package = "onnxruntime-genai" if causal else "transformers"
    ours = f"{package} {package_version(package)}"
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
        exporter=ours if job.optimum is None else str(job.optimum),
        execution_provider=config.device,
        algorithm=_algorithm(job),
        block_size=None if job.rounding is None else job.rounding.block_size,
        accuracy_level=None if job.rounding is None else job.rounding.accuracy_level,
        graph=made.graph,
        seconds=made.seconds,
        parity=made.parity,
        provenance=collect(argv, config.device, ("onnx", "onnxruntime", "onnxruntime-genai")),
    )


def _algorithm(job: Job) -> str | None:
    if job.rounding is not None:
        return job.rounding.algorithm
    if not job.config.is_quantized:
        return None
    return "w8a8" if job.config.is_w8a8 else "dynamic"


def _dtype(config: Any) -> str:
    return str(config.dtype or "float32").removeprefix("torch.")
