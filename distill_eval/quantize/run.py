"""Quantize a model into a folder that engines load, and check that folder before it appears."""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distill_eval import checkpoint
from distill_eval.engine import hf
from distill_eval.errors import ModelError, require
from distill_eval.quantize import bnb, packed
from distill_eval.quantize.config import DEFAULT_ITERATIONS, QuantizeConfig
from distill_eval.quantize.harm import rank_units
from distill_eval.quantize.job import LIBRARIES, Job, prepare
from distill_eval.quantize.measure import closeness, layer_errors, read_folder
from distill_eval.quantize.summary import Made, summarize
from distill_eval.record import to_json
from distill_eval.schema.quant import Check, KeptBest, QuantRun, UnitHarm
from distill_eval.store.files import OUTPUT_OPTION, explained
from distill_eval.store.folder import beside, publish, require_free
from distill_eval.tell import telling

ARTIFACT = "quant.json"
_CONTINUED = 16
"""Tokens that the quantized model writes behind the same number of tokens of text."""


def run(
    config: QuantizeConfig,
    *,
    argv: Sequence[str],
    say: Callable[[str], Any] = print,
    describe: Callable[[QuantRun], Mapping[str, str]] = lambda _: {},
) -> QuantRun:
    """Write the variant's folder with its `quant.json`, whole or not at all, and return that record.

    Args:
        config: What is asked.
        argv: The command line, for the record.
        say: Takes lines for the reader.
        describe: More files to write beside the record, by name: what it says, for people.

    Raises:
        UsageError: what is asked does not fit the model, the text cannot be had, the output folder is in use, or the
            library is not installed.
        ModelError: the model cannot be had, is quantized already, or cannot be quantized this way.
        StoreError: the output folder cannot be written.
    """
    output = config.output_dir.expanduser()
    require_free(output)
    job = prepare(config, telling(say))
    with beside(output) as scratch:
        made, built, ignored, kept_best = _make_best(job, scratch)
        done = summarize(job, made, ignored, kept_best, argv)
        publish(built, output, {ARTIFACT: to_json(done), **describe(done)})
    return done


def _make_best(job: Job, scratch: Path) -> tuple[Made, Path, tuple[str, ...], KeptBest | None]:
    """The variant, without the units that it hurts most to quantize if that is asked for."""
    built = scratch / "all"
    made, harms = _make(job, built, job.layers.ignored, rank=job.config.keep_best > 0)
    if not job.config.keep_best:
        return made, built, job.layers.ignored, None
    require(
        job.config.keep_best < len(harms),
        f"--keep-best {job.config.keep_best}: {job.config.way} quantized {len(harms)} units, and one at least is to be",
    )
    best = {layer for harm in harms[: job.config.keep_best] for layer in harm.unit}
    ignored = job.layers.ignored + tuple(name for name in job.layers.widths if name in best)
    again = scratch / "best"
    better, _ = _make(job, again, ignored, rank=False)
    better = better._replace(seconds=made.seconds + better.seconds, peak_bytes=made.peak_bytes)
    kept = KeptBest(
        num_kept=job.config.keep_best,
        harms=tuple(harms),
        size_bytes_without=made.folder.size_bytes,
        mean_kl_without=made.check.mean_kl,
    )
    return better, again, ignored, kept


def _make(job: Job, built: Path, ignored: Sequence[str], *, rank: bool) -> tuple[Made, list[UnitHarm]]:
    """Quantize, load what was written, and measure it."""
    importlib.import_module(LIBRARIES[job.config.way][0])  # its time and memory are not the quantization's
    began, resident = time.monotonic(), _peak_bytes()
    with explained(job.config.output_dir, OUTPUT_OPTION):
        built.mkdir()
        _write(job, built, ignored)
        _finish(job.source, built)
    seconds, rose = time.monotonic() - began, _peak_bytes() - resident
    folder = read_folder(built)
    if not folder.quantized:
        raise ModelError(
            f"{job.config.way} left every layer of {str(job.ref)!r} in high precision: its shapes do not fit"
        )
    original = hf.load(job.source, name=str(job.ref), device=job.device)
    quantized = hf.load(built, name="the quantized model", device=job.device)
    check = _check(job, original, quantized)
    errors = layer_errors(original.model, quantized.model, sorted(folder.quantized), job.held_out_ids)
    harms: list[UnitHarm] = []
    if rank:
        units = [unit for unit in job.layers.units if set(unit) <= folder.quantized]
        harms = rank_units(original, quantized, units, job.calibration_ids, job.each)
    return Made(folder, seconds, rose, check, errors), harms


def _peak_bytes() -> int:
    """The largest resident size that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _write(job: Job, built: Path, ignored: Sequence[str]) -> None:
    """The weights and their config, in `built`."""
    config, scheme = job.config, job.config.known_scheme
    if config.way == "bitsandbytes":
        bnb.write_quantized(
            job.source, built, scheme=scheme, ignored=ignored, double_quant=config.double_quant, device=job.device
        )
        return
    if config.way == "rtn":
        wanted = packed.make_scheme(scheme, group_size=job.group_size, symmetric=config.symmetric)
        layers = [name for name in job.layers.widths if name not in ignored]
        packed.write_rounded(job.source, built, layers, wanted)
        described = json.loads((job.source / "config.json").read_text(encoding="utf-8"))
        described["quantization_config"] = packed.quantization_config(wanted, ignored)
        (built / "config.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        return
    from distill_eval.quantize import autoround

    model = hf.load(job.source, name=str(job.ref), device=job.device)
    written = autoround.write_tuned(
        model.model,
        model.tokenizer,
        job.calibration_ids,
        built,
        scheme=scheme,
        group_size=job.group_size,
        symmetric=config.symmetric,
        ignored=ignored,
        iterations=config.iterations or DEFAULT_ITERATIONS,
        seed=config.seed,
    )
    if written != built:
        for file in written.iterdir():
            file.rename(built / file.name)
        written.rmdir()


def _finish(source: Path, built: Path) -> None:
    """The original's tokenizer and generation config, byte by byte; weights can be read by who reads the config."""
    checkpoint.copy_unchanged(source, built)
    for file in checkpoint.weight_files(built):
        file.chmod((built / "config.json").stat().st_mode)


def _check(job: Job, original: hf.HFModel, quantized: hf.HFModel) -> Check:
    held_out = job.held_out_ids
    passes = (original.logits(sample_T.tolist()) for sample_T in job.each("check, held-out samples", held_out))
    found = closeness(passes, quantized, held_out)
    written = quantized.greedy(held_out[0][:_CONTINUED].tolist(), _CONTINUED)
    return Check(
        text=job.samples.facts,
        num_held_out=len(held_out),
        **found._asdict(),
        max_kl=job.config.max_kl or job.config.facts.max_kl,
        generated=quantized.tokenizer.decode(written),
    )
