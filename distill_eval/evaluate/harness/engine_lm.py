"""Our model for lm-eval on an engine that is not transformers: the same token requests, computed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import configure_pad_token, resolve_max_length
from transformers import AutoConfig

from distill_eval.errors import ModelError
from distill_eval.evaluate.harness.requests import (
    IncrementalTokens,
    Recorder,
    TokenRequests,
    cut,
    generate_texts,
    greedy_request,
    token_pairs,
)
from distill_eval.evaluate.harness.rolling import RollingTexts
from distill_eval.evaluate.scorer.generate import GenerateRequest, NonFiniteError
from distill_eval.evaluate.scorer.packed import LogLikelihood
from distill_eval.evaluate.scorer.tree import TokenRequest


class TokenEngine(Protocol):
    """Computes log-likelihoods and greedy continuations of token ids."""

    max_length: int
    """Tokens that it reads at most."""
    plain_reason: str | None
    """Why shared prefixes are computed again for each request, or `None`."""

    def score(
        self,
        requests: Sequence[TokenRequest],
        *,
        done: frozenset[int],
        on_scores: Callable[[dict[int, LogLikelihood]], None],
        on_tokens: Callable[[int, int], None],
    ) -> None:
        """Score every request that is not `done`, as `PackedScorer.score` does."""

    def generate(
        self,
        requests: Sequence[GenerateRequest],
        *,
        done: frozenset[int],
        on_batch: Callable[[dict[int, list[int]]], None],
    ) -> None:
        """Continue every request that is not `done`, as `scorer.generate.generate` does."""


class EngineLM(IncrementalTokens, TemplateLM):
    """Gives lm-eval an engine's numbers for the very token ids that `SharedPrefixLM` scores.

    A `recorder` that is set before a call serves that call alone.
    """

    eot_token_id = HFLM.eot_token_id
    prefix_token_id = HFLM.prefix_token_id
    max_gen_toks = HFLM.max_gen_toks
    tok_batch_encode = HFLM.tok_batch_encode
    tok_decode = HFLM.tok_decode
    custom_prefix_token_id = None
    add_bos_token = None

    def __init__(self, engine: TokenEngine, tokenizer: Any) -> None:
        """Wrap an engine that runs.

        Args:
            engine: Computes.
            tokenizer: Of transformers, the model's own.
        """
        super().__init__()
        self.tokenizer = configure_pad_token(tokenizer)
        self.engine = engine
        self.max_length = engine.max_length
        self.plain_reason = engine.plain_reason
        self.recorder = Recorder()

    @contextmanager
    def _call(self) -> Iterator[None]:
        """One call from outside, which uses up its recorder."""
        try:
            yield
        finally:
            self.recorder = Recorder()

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood, is greedy) per request, as lm-eval defines them."""
        with self._call():
            scores: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return scores

    def _loglikelihood_tokens(self, requests: TokenRequests, **kwargs: Any) -> list[tuple[float, bool]]:
        recorder = self.recorder
        tokens = cut(token_pairs(requests, self.max_length), self.max_length)
        self.engine.score(
            tokens, done=frozenset(recorder.done), on_scores=recorder.record, on_tokens=recorder.on_progress
        )
        return [recorder.done[i] for i in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of each whole text, in lm-eval's windows of the model's context length."""
        with self._call():
            recorder = self.recorder
            texts = RollingTexts(
                [self.tok_encode(request.args[0]) for request in requests],
                prefix_token=self.prefix_token_id,
                max_length=self.max_length,
                recorder=recorder,
            )
            tokens = cut(texts.windows, self.max_length)
            self.engine.score(tokens, done=texts.done, on_scores=texts.add, on_tokens=recorder.on_progress)
            return [recorder.done[i] for i in range(len(requests))]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy text per request up to its stop strings.

        Raises:
            ModelError: a request wants more than greedy decoding, leaves no room for its prompt, or the model's logits
                are not numbers.
        """
        with self._call():
            args = [self._greedy(request) for request in requests]
            try:
                return generate_texts(self, args, self.engine.generate, self.recorder)
            except NonFiniteError as error:
                self.recorder.record({error.row: math.nan})
                raise ModelError(f"the model's logits for request {error.row} are not numbers") from None

    def _greedy(self, request: Instance) -> GenerateRequest:
        found = greedy_request(self, request)
        if found is None:
            raise ModelError(
                f"{request.task_name} samples its texts ({request.args[1]}), which only transformers does here: take "
                "--engine hf, or leave the task out"
            )
        return found


def context_length(folder: Path, tokenizer: Any, *, trust_remote_code: bool) -> int:
    """Tokens that a model reads, as `HFLM` finds it."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    return int(resolve_max_length(config, tokenizer, default=HFLM._DEFAULT_MAX_LENGTH))
