"""Candidates beside a reference, one after the other.

Shapes: C chunks, S scored positions of each.
"""

from __future__ import annotations

import gc
from typing import Any, NamedTuple

import numpy as np
import torch

from distill_eval import checkpoint
from distill_eval.engine import LogitModel
from distill_eval.engine.load import Facts, Found, load, read_facts, read_tokenizer
from distill_eval.fidelity import unlike
from distill_eval.fidelity.config import FidelityConfig
from distill_eval.fidelity.divergence import Measured, measure
from distill_eval.fidelity.reference import Kept, scored_log_probs
from distill_eval.fidelity.statistics import bits_per_byte, exponential, mean, root_mean_square, share, spread
from distill_eval.fidelity.text import Text, same_tokens
from distill_eval.schema.fidelity import Candidate, ModelSaid, TokenMeasures
from distill_eval.store import Store
from distill_eval.tell import Each


class Reference(NamedTuple):
    """What candidates are held against."""

    found: Found
    facts: Facts
    tokenizer: Any
    text: Text
    kept: Kept


class Bench:
    """Measures one candidate after the other; only one model is in memory."""

    def __init__(self, config: FidelityConfig, reference: Reference, store: Store, device: str, each: Each) -> None:
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
        elif facts.vocab_size < theirs.kept.shape.vocab_size:
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
            rows_NV = scored_log_probs(model, chunk, kept.shape.vocab_size, name)
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
    theirs, ours = found.reference_log_prob_N.numpy(), found.log_prob_N.numpy()
    delta_p = np.exp(ours) - np.exp(theirs)
    log_ratio = mean(theirs - ours)
    return TokenMeasures(
        kl=spread(found.kl_N.numpy()),
        reverse_kl=spread(found.reverse_kl_N.numpy()),
        jsd=spread(found.jsd_N.numpy()),
        top1_agreement=share(found.same_top1_N.numpy()),
        top5_overlap=mean(found.top5_overlap_N.numpy()),
        rms_delta_p=root_mean_square(delta_p),
        mean_delta_p=mean(delta_p),
        perplexity=exponential(mean(-ours)),
        log_perplexity_ratio=log_ratio,
        perplexity_ratio=exponential(log_ratio),
    )
