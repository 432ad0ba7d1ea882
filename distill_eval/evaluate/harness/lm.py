"""Our model for lm-eval: an `HFLM` that scores a whole task as a prefix tree instead of row by row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, has_bos_prefix, normalize_gen_kwargs, postprocess_generated_text

from distill_eval.evaluate.scorer.encode import IncrementalEncoder
from distill_eval.evaluate.scorer.generate import GenerateRequest, generate, is_plain_greedy
from distill_eval.evaluate.scorer.linear import can_prepack, prepack
from distill_eval.evaluate.scorer.packed import LogLikelihood, PackedScorer
from distill_eval.evaluate.scorer.support import choose_batch_tokens, disagreement, reason_against, reference_scores
from distill_eval.evaluate.scorer.tree import TokenRequest

PLAIN_CHUNK = 128
"""Requests between two journal entries on the plain path."""

TokenRequests = list[tuple[tuple[str, str], list[int], list[int]]]


@dataclass
class Recorder:
    """What is known of a task's responses already, and who hears of new ones."""

    done: dict[int, Any] = field(default_factory=dict)
    """Index of a request to its response."""
    on_responses: Callable[[dict[int, Any]], None] = lambda responses: None
    on_progress: Callable[[int, int], None] = lambda seen, total: None
    """Units of work dealt with so far, and in all."""

    def record(self, responses: dict[int, Any]) -> None:
        """Take new responses, and pass them on."""
        self.done.update(responses)
        self.on_responses(responses)


class SharedPrefixLM(HFLM):
    """Gives lm-eval's own numbers with each shared token computed once.

    Works wherever lm-eval takes an `LM` (`lm_eval.simple_evaluate(model=SharedPrefixLM(...))`). A model for which
    sharing is not valid is scored by `HFLM` itself; `plain_reason` then says why.
    """

    def __init__(self, model: Any, tokenizer: Any, *, scorer: str = "prefix", batch_tokens: int | None = None) -> None:
        """Wrap a loaded transformers model.

        Args:
            model: A causal or sequence-to-sequence language model in evaluation mode, on its device.
            tokenizer: Its tokenizer.
            scorer: `prefix`, or `plain` for lm-eval's own path.
            batch_tokens: Tokens per forward pass; `None` chooses by device.
        """
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=8 if model.device.type == "cpu" else "auto")
        self.recorder = Recorder()
        self.plain_reason: str | None = "asked for with --scorer plain" if scorer == "plain" else reason_against(model)
        self.batch_tokens = batch_tokens or choose_batch_tokens(model)
        self._packed: PackedScorer | None = None
        self._bos = self.tokenizer.decode(self.prefix_token_id)
        self._encoder = IncrementalEncoder(self.tokenizer, self._encode_directly)

    # ---- tokenization

    def _encode_directly(self, text: str) -> list[int]:
        ids: list[int] = super().tok_encode(text)
        return ids

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, left_truncate_len: int | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids as `HFLM.tok_encode` gives them; what is shared with the previous text is not encoded again."""
        if add_special_tokens is None and not left_truncate_len and not has_bos_prefix(string, self._bos):
            return self._encoder(string)
        ids: list[int] = super().tok_encode(string, add_special_tokens, left_truncate_len, **kwargs)
        return ids

    # ---- log-likelihoods

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """(log-likelihood, is greedy) per request, as lm-eval defines them."""
        if self.plain_reason:
            return self._in_chunks(super().loglikelihood, requests)
        scores: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return scores

    def _loglikelihood_tokens(
        self, requests: TokenRequests, disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        if self.plain_reason:
            plain: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, True, override_bs)
            return plain
        pairs = [(context, continuation) for _, context, continuation in requests]
        recorder = self.recorder
        scores = self._score(pairs, frozenset(recorder.done), recorder.record)
        if scores is None:
            return self._in_chunks(lambda chunk: HFLM._loglikelihood_tokens(self, chunk, True), requests)
        return [recorder.done[i] for i in range(len(requests))] if scores else []

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-likelihood of each whole text, in lm-eval's windows of the model's context length."""
        if self.plain_reason:
            return self._in_chunks(lambda chunk: HFLM.loglikelihood_rolling(self, chunk, True), requests)
        windows: list[tuple[list[int], list[int]]] = []
        owner: list[int] = []
        for index, request in enumerate(requests):
            found = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for window in map(utils.make_disjoint_window, found):
                windows.append(window)
                owner.append(index)
        texts = _Texts(owner, len(requests), self.recorder)
        done = frozenset(i for i, text in enumerate(owner) if text in self.recorder.done)
        if self._score(windows, done, texts.add) is None:
            return self.loglikelihood_rolling(requests)
        return [self.recorder.done.get(i, 0.0) for i in range(len(requests))]

    def _score(
        self,
        pairs: Sequence[tuple[list[int], list[int]]],
        done: frozenset[int],
        on_scores: Callable[[dict[int, LogLikelihood]], None],
    ) -> bool | None:
        """Score (context, continuation) token pairs as a tree; `None`: the plain path must (see `plain_reason`)."""
        if not pairs:
            return False
        tokens = [self._token_request(context, continuation) for context, continuation in pairs]
        scorer = self._packed or self._checked(tokens)
        if scorer is None:
            return None
        self._packed = scorer
        scorer.score(tokens, done=done, on_scores=on_scores, on_tokens=self.recorder.on_progress)
        return True

    def _token_request(self, context: list[int], continuation: list[int]) -> TokenRequest:
        """What the model reads, cut on the left to its context length as `HFLM` does."""
        if not context or not 0 < len(continuation) <= self.max_length:
            raise ValueError(
                f"a continuation of {len(continuation)} tokens does not fit a context of {self.max_length}"
            )
        return TokenRequest(tuple((context + continuation)[-(self.max_length + 1) : -1]), tuple(continuation))

    def _checked(self, requests: list[TokenRequest]) -> PackedScorer | None:
        """The packed scorer, if it agrees with the model's own forward pass on the first requests."""
        self.plain_reason = reason_against(self.model, longest=max(len(r.inputs) for r in requests))
        if self.plain_reason:
            return None
        sample = requests[: min(4, len(requests))]
        expected = reference_scores(self.model, sample)
        if can_prepack(self.model):
            prepack(self.model)
        scorer = PackedScorer(self.model, self.batch_tokens)
        self.plain_reason = disagreement(scorer, sample, expected)
        return None if self.plain_reason else scorer

    # ---- generation

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Greedy text per request up to its stop strings; sampling and beams are left to `HFLM`."""
        args = [self._greedy_args(request) for request in requests]
        if self.plain_reason or not is_plain_greedy(self.model) or None in args:
            return self._in_chunks(super().generate_until, requests)
        known = [request for request in args if request is not None]
        unique = list(dict.fromkeys(known))
        copies: dict[GenerateRequest, list[int]] = {}
        for index, request in enumerate(known):
            copies.setdefault(request, []).append(index)
        done = frozenset(i for i, request in enumerate(unique) if copies[request][0] in self.recorder.done)

        def record(texts: dict[int, list[int]]) -> None:
            responses = {}
            for number, tokens in texts.items():
                stop = list(unique[number].stop)
                text = postprocess_generated_text(self.tok_decode(tokens), stop=stop, think_end_token=None)
                responses.update(dict.fromkeys(copies[unique[number]], text))
            self.recorder.record(responses)
            self.recorder.on_progress(len(self.recorder.done), len(requests))

        generate(self.model, self.tokenizer, unique, done=done, on_batch=record)
        return [self.recorder.done[i] for i in range(len(requests))]

    def _greedy_args(self, request: Instance) -> GenerateRequest | None:
        """The request as greedy decoding of tokens; `None` if its settings ask for more than that."""
        context, settings = request.args
        kwargs: dict[str, Any] = dict(normalize_gen_kwargs(settings, self.max_gen_toks))
        stop = handle_stop_sequences(
            kwargs.pop("until", None), eos=self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        )
        size = kwargs.pop("max_gen_toks")
        if kwargs.pop("do_sample", False) or kwargs.pop("temperature", 0.0) or kwargs or size >= self.max_length:
            return None
        ids, _ = self.tok_batch_encode([context])
        return GenerateRequest(tuple(ids[0].tolist()[-(self.max_length - size) :]), tuple(stop), size)

    # ---- the plain path

    def _in_chunks(self, run: Callable[[Any], list[Any]], requests: Sequence[Any]) -> list[Any]:
        """Run lm-eval's own path chunk by chunk, so that what is finished is recorded."""
        recorder = self.recorder
        for start in range(0, len(requests), PLAIN_CHUNK):
            chunk = range(start, min(start + PLAIN_CHUNK, len(requests)))
            if not all(i in recorder.done for i in chunk):
                self.recorder = Recorder()
                try:
                    responses = run(list(requests[start : chunk.stop]))
                finally:
                    self.recorder = recorder
                recorder.record(dict(zip(chunk, responses, strict=True)))
            recorder.on_progress(chunk.stop, len(requests))
        return [recorder.done[i] for i in range(len(requests))]


class _Texts:
    """Adds windows up to the texts that they are cut from."""

    def __init__(self, owner: Sequence[int], num_texts: int, recorder: Recorder) -> None:
        self._owner = owner
        self._recorder = recorder
        self._windows: dict[int, list[int]] = {}
        for window, text in enumerate(owner):
            self._windows.setdefault(text, []).append(window)
        self._scores: dict[int, float] = {}
        recorder.record({text: 0.0 for text in range(num_texts) if text not in self._windows})

    def add(self, scores: dict[int, LogLikelihood]) -> None:
        """Record the texts whose last missing window has come."""
        self._scores.update((window, score.logprob) for window, score in scores.items())
        complete: dict[int, float] = {}
        for text in {self._owner[window] for window in scores}:
            windows = self._windows[text]
            if all(window in self._scores for window in windows):
                complete[text] = math.fsum(self._scores[window] for window in windows)
        if complete:
            self._recorder.record(complete)
