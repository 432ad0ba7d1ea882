"""The record of a finished quantization, and what its reader is warned of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from distill_eval import checkpoint
from distill_eval.provenance import collect, package_version
from distill_eval.quantize.config import DEFAULT_ITERATIONS
from distill_eval.quantize.job import LIBRARIES, Job
from distill_eval.quantize.layers import group_units, split_units
from distill_eval.quantize.measure import Folder
from distill_eval.quantize.schemes import GROUP_SIZES
from distill_eval.schema.quant import Check, KeptBest, LayerError, QuantRun

SMALLEST_GROUP = GROUP_SIZES[-1]


class Made(NamedTuple):
    """A variant on disk and what was measured of it."""

    folder: Folder
    seconds: float
    peak_bytes: int
    check: Check
    errors: list[LayerError]


def summarize(
    job: Job, made: Made, ignored: tuple[str, ...], kept_best: KeptBest | None, argv: Sequence[str]
) -> QuantRun:
    """Everything that is known of the variant.

    Args:
        job: What was asked.
        made: What came of it.
        ignored: Layers that were to stay in high precision.
        kept_best: How those were chosen that stay besides `--ignore`.
        argv: The command line.
    """
    config, layers, folder = job.config, job.layers, made.folder
    quantized = tuple(name for name in layers.widths if name in folder.quantized)
    left = tuple(name for name in layers.widths if name not in folder.quantized and name not in ignored)
    library = LIBRARIES[config.way][1]
    model_files = [job.source / "config.json", *checkpoint.weight_files(job.source)]
    return QuantRun(
        model=job.ref,
        model_commit=checkpoint.hub_commit(job.source),
        model_digest=checkpoint.content_digest(model_files),
        architecture=layers.architecture,
        scheme=config.known_scheme,
        algorithm=None if config.way == "bitsandbytes" else config.way,
        symmetric=config.symmetric,
        group_size=job.group_size,
        double_quant=config.double_quant,
        iterations=(config.iterations or DEFAULT_ITERATIONS) if config.way == "autoround" else None,
        seed=config.seed,
        library=f"{library} {package_version(library)}",
        quantized_layers=quantized,
        ignored_layers=ignored + left,
        tied_embeddings=layers.tied_embeddings,
        num_parameters=layers.num_parameters,
        num_parameters_quantized=sum(layers.num_parameters_in[name] for name in quantized),
        embedding_bytes=_embedding_bytes(job, folder),
        size_bytes_original=checkpoint.weight_bytes(job.source),
        size_bytes=folder.size_bytes,
        bits_per_weight=8 * folder.size_bytes / layers.num_parameters,
        seconds=made.seconds,
        peak_bytes=made.peak_bytes,
        layer_errors=tuple(made.errors),
        kept_best=kept_best,
        check=made.check,
        warnings=tuple(_warnings(job, made, left)),
        provenance=collect(argv, job.device),
    )


def _embedding_bytes(job: Job, folder: Folder) -> int:
    """Of everything that stands for the weights of input and output embeddings."""
    names = job.layers.embeddings
    return sum(size for name, size in folder.bytes_of.items() if name.partition(".weight")[0] in names)


def _warnings(job: Job, made: Made, left: Sequence[str]) -> list[str]:
    check, config, found = made.check, job.config, []
    if check.mean_kl > check.max_kl:
        found.append(
            f"the mean KL to the original is {check.mean_kl:.4f} nats per token, {check.mean_kl / check.max_kl:.1f} "
            f"times the bound of {check.max_kl:g} (--max-kl). Try --algorithm autoround, --keep-best, a smaller "
            "--group-size or a scheme with more bits"
        )
    if left:
        found.append(
            f"{config.way} left {len(left)} layers in high precision although they were to be quantized, e.g. "
            f"{left[0]}: their shapes do not fit"
        )
    if config.way != "bitsandbytes":
        everything = group_units((*job.layers.widths, *job.layers.ignored))
        split = split_units(everything, made.folder.quantized)
        if split:
            found.append(
                f"vLLM runs {' and '.join(split[0])} as one and refuses a folder in which some of them are quantized "
                f"and some are not ({len(split)} such units). Name all of them with --ignore, or none"
            )
        if job.group_size == SMALLEST_GROUP:
            found.append(f"vLLM has no kernel for groups of {SMALLEST_GROUP}: transformers alone runs this folder")
    if config.scheme == "W8A16" and job.device == "cpu":
        found.append("vLLM runs W8A16 on a GPU alone: its kernels for CPUs take 4-bit weights, or W8A8")
    return found
