"""Our model for lm-eval: an `HFLM` that scores a whole task as a prefix tree instead of row by row."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from distill_eval.errors import ModelError
from distill_eval.evaluate.harness.requests import (
    IncrementalTokens,
    Recorder,
    TokenPairs,
    TokenRequests,
    cut,
    generate_texts,
    greedy_request,
    token_pairs,
)
from distill_eval.evaluate.harness.rolling import RollingTexts
from distill_eval.evaluate.scorer import support
from distill_eval.evaluate.scorer.generate import GenerateRequest, NonFiniteError, generate, is_plain_greedy, refuse_nan
from distill_eval.evaluate.scorer.linear import can_prepack, prepack
from distill_eval.evaluate.scorer.packed import LogLikelihood, PackedScorer
from distill_eval.evaluate.scorer.tree import TokenRequest

PLAIN_CHUNK = 128
"""Requests between two journal entries on the plain path."""


class SharedPrefixLM(IncrementalTokens, HFLM):
    """Gives lm-eval's own numbers with each shared token computed once.

    Works wherever lm-eval takes an `LM` (`lm_eval.simple_evaluate(model=SharedPrefixLM(...))`). Requests for which
    sharing is not valid are scored by `HFLM` itself; `plain_reason` then says why, until the next call. A `recorder`
    that is set before a call serves that call alone.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, scorer: str = "prefix", batch_tokens: int | None = None, seed: int = 1234
    ) -> None:
        """Wrap a loaded transformers model.

        Args:
            model: A causal or sequence-to-sequence language model in evaluation mode, on its device.
            tokenizer: Its tokenizer.
            scorer: `prefix`, or `plain` for lm-eval's own path.
            batch_tokens: Tokens per forward pass; `None` chooses by device.
            seed: Of sampled texts (1234 is lm-eval's default).
        """
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=8 if model.device.type == "cpu" else "auto")
        self.recorder = Recorder()
        plain = scorer == "plain"
        self._model_reason = "asked for with --scorer plain" if plain else support.reason_against(model)
        self.plain_reason: str | None = self._model_reason
        self.batch_tokens = batch_tokens or support.choose_batch_tokens(model)
        self._seed = seed
        self._packed: PackedScorer | None = None
        self._num_checked_tokens = 0
        self._rope_limit = support.rope_limit(model)
        if self._rope_limit < self.max_length:
            self.batch_size_per_gpu = 1  # in a batch, a row's angles would depend on the longest one

    @contextmanager
    def _call(self) -> Iterator[None]:
        """One call from outside: it uses up its recorder, and what is decided for its requests ends with it.

        Weights are packed before the first, whatever it asks for, so that a resumed run computes the same bits.
        """
        if self._model_reason is None and can_prepack(self.model):
            prepack(self.model)
        self.plain_reason, batch_size = self._model_reason, self.batch_size_per_gpu
        try:
            yield
        finally:
            self.recorder, self.batch_size_per_gpu = Recorder(), batch_size

    # ---- log-likelihoods

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood, is greedy) per request, as lm-eval defines them."""
        with self._call():
            scores: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return scores

    def _loglikelihood_tokens(
        self, requests: TokenRequests, disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        if override_bs is not None:  # windows of lm-eval's own rolling log-likelihood
            plain: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, True, override_bs)
            return plain
        recorder, pairs = self.recorder, token_pairs(requests, self.max_length)
        if not self._score(pairs, frozenset(recorder.done), recorder.record):
            longest = max(requests, key=lambda request: len(request[1]) + len(request[2]))
            return self._in_chunks(lambda chunk: HFLM._loglikelihood_tokens(self, chunk, True), requests, [longest])
        return [recorder.done[i] for i in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of each whole text, in lm-eval's windows of the model's context length."""
        with self._call():
            texts = RollingTexts(
                [self.tok_encode(request.args[0]) for request in requests],
                prefix_token=self.prefix_token_id,
                max_length=self.max_length,
                recorder=self.recorder,
            )
            if not self._score(texts.windows, texts.done, texts.add):
                return self._in_chunks(lambda chunk: HFLM.loglikelihood_rolling(self, chunk, True), requests)
            return [self.recorder.done[i] for i in range(len(requests))]

    def _score(
        self,
        pairs: TokenPairs,
        done: frozenset[int],
        on_scores: Callable[[dict[int, LogLikelihood]], None],
    ) -> bool:
        """Score (context, continuation) token pairs as a tree; False: the plain path must (see `plain_reason`)."""
        if not pairs:
            return True
        if self.plain_reason:
            return False
        tokens = cut(pairs, self.max_length)
        scorer = self._packed = self._packed or PackedScorer(self.model, self.batch_tokens)
        if not self._may_share(scorer, tokens):
            return False
        scorer.score(tokens, done=done, on_scores=on_scores, on_tokens=self.recorder.on_progress)
        return True

    def _may_share(self, scorer: PackedScorer, requests: list[TokenRequest]) -> bool:
        """Whether these requests may share prefixes: by their length, and by the numbers of some of them.

        A model that agreed with its own forward pass on a request is taken to agree on shorter ones.
        """
        longest = max(requests, key=lambda request: len(request.inputs))
        if self._is_too_long(len(longest.inputs)):
            return False
        if len(longest.inputs) > self._num_checked_tokens:
            sample = [longest, *requests[:3]]
            expected = support.reference_scores(self.model, sample[:1] if self._num_checked_tokens else sample)
            self.plain_reason = support.disagreement(scorer, sample, expected)
            if self.plain_reason is None:
                self._num_checked_tokens = len(longest.inputs)
        return self.plain_reason is None

    def _is_too_long(self, num_tokens: int) -> bool:
        """Whether rotary embeddings would depend on which requests share a forward pass."""
        if num_tokens > self._rope_limit:
            self.plain_reason = f"beyond {self._rope_limit} tokens, rotary embeddings depend on a batch's longest row"
        return num_tokens > self._rope_limit

    # ---- generation

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy text per request up to its stop strings; sampling and beams are left to `HFLM`.

        Raises:
            ModelError: a request leaves no room for its prompt, or the model's logits are not numbers.
        """
        with self._call():
            args = [greedy_request(self, request) for request in requests]
            known = [request for request in args if request is not None]
            num_tokens = max((len(request.inputs) + request.max_new_tokens for request in known), default=0)
            is_greedy = len(known) == len(args) and is_plain_greedy(self.model)
            if self.plain_reason or not is_greedy or self._is_too_long(num_tokens):
                return self._in_chunks(self._generate_plainly, requests)
            return self._generate(known)

    def _generate(self, requests: list[GenerateRequest]) -> list[str]:
        run = functools.partial(generate, self.model, self.tokenizer)
        try:
            return generate_texts(self, requests, run, self.recorder)
        except NonFiniteError as error:
            self._refuse(error.row)

    def _generate_plainly(self, requests: list[Instance]) -> list[str]:
        """lm-eval's own generation. It sorts its batches, so the row that is not a number is looked for one by one."""
        try:
            texts: list[str] = super().generate_until(requests, True)
        except NonFiniteError:
            if len(requests) == 1:
                raise
            texts = []
            for row, request in enumerate(requests):
                try:
                    texts += super().generate_until([request], True)
                except NonFiniteError:
                    raise NonFiniteError(row) from None
        return texts

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **generation_kwargs: Any) -> Any:
        return super()._model_generate(context, max_length, stop, logits_processor=[refuse_nan], **generation_kwargs)

    def _refuse(self, index: int) -> NoReturn:
        """Stop at a request whose logits are not numbers; a recorder that knows its document says so first."""
        self.recorder.record({index: math.nan})
        raise ModelError(f"the model's logits for request {index} are not numbers. Try float32")

    # ---- the plain path

    def _in_chunks(
        self, run: Callable[[Any], list[Any]], requests: Sequence[Any], longest: TokenRequests | None = None
    ) -> list[Any]:
        """Run lm-eval's own path chunk by chunk, so that what is finished is recorded.

        Each chunk has its own seed, and so gives the same texts whatever ran before it. The largest batch size is
        looked for once, with the `longest` request (the model's context length if `None`).
        """
        recorder = self.recorder
        for start in range(0, len(requests), PLAIN_CHUNK):
            chunk = range(start, min(start + PLAIN_CHUNK, len(requests)))
            if not all(i in recorder.done for i in chunk):
                if self.batch_size == "auto":
                    self.batch_size_per_gpu = self._detect_batch_size(longest)
                torch.manual_seed(self._seed + start)
                try:
                    responses = run(list(requests[start : chunk.stop]))
                except NonFiniteError as error:
                    self._refuse(start + error.row)
                recorder.record(dict(zip(chunk, responses, strict=True)))
            recorder.on_progress(chunk.stop, len(requests))
        return [recorder.done[i] for i in range(len(requests))]
