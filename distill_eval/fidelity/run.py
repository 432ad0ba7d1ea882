"""The stage behind `distill-eval fidelity`: candidates beside a reference, on one text.

Shapes: C chunks, S scored positions of each.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from distill_eval import checkpoint
from distill_eval.calibration import TextSource
from distill_eval.device import choose_device
from distill_eval.engine import LogitModel
from distill_eval.engine.load import Facts, Found, find, load, read_facts, read_tokenizer
from distill_eval.errors import require
from distill_eval.fidelity import reference, unlike
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.fidelity.divergence import Measured, measure
from distill_eval.fidelity.reference import Kept
from distill_eval.fidelity.rows import POWER, Shape, fit
from distill_eval.fidelity.statistics import (
    Values,
    bits_per_byte,
    exponential,
    mean,
    root_mean_square,
    share,
    spread,
)
from distill_eval.fidelity.text import Text, cut, same_tokens
from distill_eval.provenance import collect, engine_version, package_version
from distill_eval.record import to_json
from distill_eval.schema.fidelity import Candidate, Fidelity, KeptReference, ModelSaid, TokenMeasures
from distill_eval.schema.model import ModelRef
from distill_eval.store import JSON, Store, write_atomic
from distill_eval.tell import Each, telling

ARTIFACT = "fidelity.json"
FORMAT = 1
"""Counted up when what is kept of a reference changes so that older files must not be used."""


def run(config: FidelityConfig, *, store: Store, argv: Sequence[str], say: Callable[[str], Any]) -> Fidelity:
    """Measure every candidate, and write `fidelity.json`.

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
    facts, tokenizer = read_facts(ours), read_tokenizer(ours)
    text = cut(_source(config), tokenizer, config.scored, name=config.reference)
    shape = _shape(config, facts)
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
    bench = _Bench(config, _Reference(ours, facts, tokenizer, text, kept), store, device, each)
    done = Fidelity(
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
    write_atomic(config.output_dir.expanduser() / ARTIFACT, to_json(done))
    return done


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


def _shape(config: FidelityConfig, facts: Facts) -> Shape:
    """As much as fits beside logits of the dtype that the reference is run in."""
    dtype = facts.dtype if config.dtype == "auto" else config.dtype
    return fit(facts.vocab_size, config.top_k, _logit_bytes(dtype))


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
        "engine_version": engine_version() if found.engine == "hf" else package_version("onnxruntime-genai"),
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


# ---- candidates


class _Reference(NamedTuple):
    """What candidates are held against."""

    found: Found
    facts: Facts
    tokenizer: Any
    text: Text
    kept: Kept


class _Bench:
    """Measures one candidate after the other; only one model is in memory."""

    def __init__(self, config: FidelityConfig, reference: _Reference, store: Store, device: str, each: Each) -> None:
        self._config, self._reference, self._store = config, reference, store
        self._device, self._each = device, each
        self._their_texts: list[unlike.Said] | None = None

    def said(self, found: Found, facts: Facts) -> ModelSaid:
        """What the artifact says about a model."""
        return ModelSaid(
            ref=str(found.ref),
            engine="onnx" if found.engine == "onnx" else "hf",
            dtype=self._config.dtype,
            size_bytes=sum(path.stat().st_size for path in found.weights),
            digest=digest(found, self._store),
            vocab_size=facts.vocab_size,
        )

    def candidate(self, found: Found) -> Candidate:
        """Hold a model against the reference."""
        theirs = self._reference
        facts, tokenizer = read_facts(found), read_tokenizer(found)
        reason = None
        if not same_tokens(theirs.text, tokenizer, theirs.tokenizer):
            reason = f"its tokenizer cuts the text into other tokens than that of {theirs.found.ref}"
        elif facts.vocab_size < theirs.facts.vocab_size:
            reason = f"it has {facts.vocab_size:,} logits and {theirs.found.ref} {theirs.facts.vocab_size:,}"
        said = self.said(found, facts)
        if reason is not None:
            return self._unlike(found, said, reason)
        model = load(found, dtype=self._config.dtype, device=self._device)
        measured = self._measured(model, str(found.ref))
        return Candidate(
            model=said,
            tokens=_token_measures(measured),
            tokens_reason=None,
            bits_per_byte=bits_per_byte(-measured.log_prob_N.numpy(), theirs.text.num_bytes()),
            continuations=None,
        )

    def _measured(self, model: LogitModel, name: str) -> Measured:
        """Of all chunks, each [C, S]."""
        text, kept = self._reference.text, self._reference.kept
        found = []
        for number, chunk in enumerate(self._each(f"{name}, chunks", text.chunks)):
            rows_NV = reference.scored_log_probs(model, chunk, kept.shape.vocab_size, name)
            found.append(measure(kept.rows(number, chunk), rows_NV, chunk.targets()))
        return Measured(*(torch.stack(column) for column in zip(*found, strict=True)))

    def _unlike(self, found: Found, said: ModelSaid, reason: str) -> Candidate:
        """A model with other tokens."""
        chunks, name = self._reference.text.chunks, str(found.ref)
        num, num_tokens = self._config.continuations, self._config.continuation_tokens
        prompts = [chunk for chunk in chunks if chunk.before.strip()][:num]
        if self._their_texts is None:
            theirs = load(self._reference.found, dtype=self._config.dtype, device=self._device)
            self._their_texts = unlike.continuations(theirs, prompts, num_tokens)
            del theirs
            gc.collect()
        model = load(found, dtype=self._config.dtype, device=self._device)
        bits = unlike.measure_bytes(model, chunks, self._each, name)
        texts = unlike.continuations(model, prompts, num_tokens)
        return Candidate(
            model=said,
            tokens=None,
            tokens_reason=reason,
            bits_per_byte=bits,
            continuations=unlike.compare(self._their_texts, texts, num_tokens) if prompts else None,
        )


def digest(found: Found, store: Store) -> str:
    """SHA-256 over the files on which a model's answers depend."""
    return checkpoint.content_digest(found.files, store.file_digest)


def _token_measures(found: Measured) -> TokenMeasures:
    """Over all positions.

    Args:
        found: Each [C, S].
    """
    kl, reverse_kl, jsd, top1, top5, theirs, ours = (part.numpy() for part in found)
    delta_p = np.exp(ours) - np.exp(theirs)
    log_ratio = mean(theirs - ours)
    return TokenMeasures(
        kl=spread(kl),
        reverse_kl=spread(reverse_kl),
        jsd=spread(jsd),
        top1_agreement=share(top1),
        top5_overlap=mean(top5),
        rms_delta_p=root_mean_square(delta_p),
        mean_delta_p=mean(delta_p),
        perplexity=exponential(mean(-ours)),
        log_perplexity_ratio=log_ratio,
        perplexity_ratio=exponential(log_ratio),
    )
