"""The stage behind `distill-eval fidelity`: candidates beside a reference, on one text.

Shapes: C chunks, S scored positions of each.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch

from distill_eval.calibration import TextSource
from distill_eval.device import choose_device
from distill_eval.engine.load import Facts, Found, check_library, find, load, read_facts, read_tokenizer
from distill_eval.errors import require
from distill_eval.fidelity import reference
from distill_eval.fidelity.candidates import Bench, Reference, digest
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.fidelity.reference import Kept
from distill_eval.fidelity.rows import POWER, Shape, fit
from distill_eval.fidelity.statistics import Values, bits_per_byte, exponential, mean
from distill_eval.fidelity.text import Text, cut, same_tokens
from distill_eval.provenance import collect, engine_version, package_version, unpacking_version
from distill_eval.schema.fidelity import Fidelity, KeptReference
from distill_eval.schema.model import ModelRef
from distill_eval.store import JSON, Store, check_folder
from distill_eval.tell import telling

FORMAT = 1
"""Counted up when what is kept of a reference changes so that older files must not be used."""


def run(config: FidelityConfig, *, store: Store, argv: Sequence[str], say: Callable[[str], Any]) -> Fidelity:
    """Measure every candidate.

    Args:
        config: What is asked.
        store: Keeps the reference's distributions.
        argv: The command line, for the record.
        say: Takes lines for the reader.

    Raises:
        UsageError: the text cannot be had or is too short, or an engine does not fit.
        ModelError: a model cannot be had or loaded, or gives no numbers.
        StoreError: the cache or the output folder cannot be written.
    """
    device, each = choose_device(config.device), telling(say)
    ours = find(ModelRef.parse(config.reference), role="reference")
    others = [find(ModelRef.parse(name), config.engine, role="candidate") for name in config.candidate]
    for found in (ours, *others):
        _check_length(config, found)
        check_library(found)
    facts, tokenizer = read_facts(ours), read_tokenizer(ours)
    text = cut(_source(config), tokenizer, config.scored, name=config.reference)
    shape = _shape(config, facts, _common_size(text, facts, tokenizer, others))
    check_folder(config.output_dir.expanduser())
    parts = _parts(config, ours, digest=digest(ours, store), device=device, text=text, shape=shape)
    kept = reference.keep(
        store,
        parts,
        text.chunks,
        shape,
        seed=config.seed,
        load=lambda: load(ours, dtype=config.dtype, device=device),
        each=each,
    )
    gc.collect()
    say(f"reference: {'found in the cache' if kept.reused else 'kept'}, {kept.size_bytes / 1e6:.1f} MB")
    nats = _reference_nats(kept, text)
    bench = Bench(config, Reference(ours, facts, tokenizer, text, kept), store, device, each)
    return Fidelity(
        reference=bench.said(ours, facts),
        reference_perplexity=exponential(mean(nats)),
        reference_bits_per_byte=bits_per_byte(nats, text.num_bytes()),
        text=text.facts,
        scored=config.scored,
        num_scored=nats.size,
        num_bytes=int(text.num_bytes().sum()),
        kept=_kept(kept, facts, config.dtype, nats.size),
        candidates=tuple(map(bench.candidate, others)),
        provenance=collect(argv, device),
    )


def _check_length(config: FidelityConfig, found: Found) -> None:
    longest = read_facts(found).max_length
    require(
        longest is None or config.text_length <= longest,
        f"--text-length {config.text_length}: {found.ref} reads {longest} tokens",
    )


# ---- the reference


def _source(config: FidelityConfig) -> TextSource:
    return TextSource(
        source=config.text,
        num_samples=config.text_samples,
        length=config.text_length,
        subset=config.text_subset,
        split=config.text_split,
        column=config.text_column,
        seed=None,
        option="--text",
    )


def _common_size(text: Text, facts: Facts, tokenizer: Any, others: Sequence[Found]) -> int:
    """Logits that the reference and all candidates of its tokenizer have, where each has one for every token.

    Models of a family pad their vocabularies to different sizes; what is beyond the tokenizer no text has.
    """
    sizes = [facts.vocab_size]
    for found in others:
        size = read_facts(found).vocab_size
        if len(tokenizer) <= size < facts.vocab_size and same_tokens(text, read_tokenizer(found), tokenizer):
            sizes.append(size)
    return min(sizes)


def _shape(config: FidelityConfig, facts: Facts, vocab_size: int) -> Shape:
    """As much as fits beside logits of the dtype that the reference is run in."""
    dtype = facts.dtype if config.dtype == "auto" else config.dtype
    return fit(vocab_size, config.top_k, _logit_bytes(dtype))


def _logit_bytes(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def _parts(
    config: FidelityConfig, found: Found, *, digest: str, device: str, text: Text, shape: Shape
) -> dict[str, JSON]:
    """All that the kept distributions depend on."""
    return {
        "format": FORMAT,
        "distill_eval": package_version("distill-eval"),
        "weights": digest,
        "engine": found.engine,
        "engine_version": engine_version(found.engine),
        "unpacked_by": unpacking_version(found.folder) if found.engine == "hf" else None,
        "vocab_size": shape.vocab_size,
        "dtype": config.dtype,
        "device": device.partition(":")[0],
        "text": text.facts.digest,
        "length": config.text_length,
        "scored": config.scored,
        "top_k": shape.top_k,
        "num_draws": shape.num_draws,
        "power": POWER,
        "seed": config.seed,
    }


def _kept(kept: Kept, facts: Facts, dtype: str, num_scored: int) -> KeptReference:
    return KeptReference(
        top_k=kept.shape.top_k,
        num_draws=kept.shape.num_draws,
        size_bytes=kept.size_bytes,
        bytes_per_token=kept.size_bytes / num_scored,
        full_bytes_per_token=facts.vocab_size * _logit_bytes(facts.dtype if dtype == "auto" else dtype),
        reused=kept.reused,
    )


def _reference_nats(kept: Kept, text: Text) -> Values:
    """Negative log-likelihood of the text under the reference [C, S]."""
    rows = [kept.rows(number, chunk).true_log_probs_N for number, chunk in enumerate(text.chunks)]
    return -torch.stack(rows).double().numpy()
