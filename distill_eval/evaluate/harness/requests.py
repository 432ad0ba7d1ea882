"""lm-eval's requests as token ids, and the responses to them: what the models of all engines share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from distill_eval.errors import ModelError
from distill_eval.evaluate.scorer.encode import IncrementalEncoder
from distill_eval.evaluate.scorer.generate import GenerateRequest, NonFiniteError
from distill_eval.evaluate.scorer.tree import TokenRequest

TokenRequests = list[tuple[tuple[str, str], list[int], list[int]]]
TokenPairs = Sequence[tuple[list[int], list[int]]]
"""(context, continuation) of each request."""


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


class IncrementalTokens:
    """Mixed into an lm-eval model: token ids as `HFLM` gives them, each shared beginning encoded once."""

    tokenizer: Any
    _encoder: IncrementalEncoder | None = None

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, left_truncate_len: int | None = None, **kwargs: Any
    ) -> list[int]:
        """Token ids as `HFLM.tok_encode` gives them; what is shared with the previous text is not encoded again."""
        if add_special_tokens is None and not left_truncate_len:
            if self._encoder is None:
                self._encoder = IncrementalEncoder(self.tokenizer, lambda text: list(HFLM.tok_encode(self, text)))
            return self._encoder(string)
        ids: list[int] = HFLM.tok_encode(self, string, add_special_tokens, left_truncate_len, **kwargs)
        return ids


def token_pairs(requests: TokenRequests, max_length: int) -> TokenPairs:
    """The token ids of log-likelihood requests.

    Raises:
        ModelError: nothing stands before the continuation, or it is empty or longer than the model's context.
    """
    for (_, text), context, continuation in requests:
        if not context or not 0 < len(continuation) <= max_length:
            raise ModelError(
                f"cannot score {text[:60]!r}: {len(continuation)} tokens after {len(context)}, where the model's "
                f"context holds {max_length}. Expected at least one before, and 1 to {max_length} to score"
            )
    return [(context, continuation) for _, context, continuation in requests]


def cut(pairs: TokenPairs, max_length: int) -> list[TokenRequest]:
    """Pairs as what the model reads and what it must predict, cut on the left to its context length as in `HFLM`."""
    size = max_length + 1
    return [TokenRequest(tuple((before + after)[-size:-1]), tuple(after)) for before, after in pairs]


def greedy_request(lm: Any, request: Instance) -> GenerateRequest | None:
    """The request as greedy decoding of tokens; `None` if its settings ask for more than that.

    Args:
        lm: The lm-eval model, for its tokenizer and limits.
        request: Of the type generate_until.

    Raises:
        ModelError: the new tokens alone fill the model's context.
    """
    context, settings = request.args
    kwargs: dict[str, Any] = dict(normalize_gen_kwargs(settings, lm.max_gen_toks))
    stop = handle_stop_sequences(
        kwargs.pop("until", None), eos=lm.tok_decode(lm.eot_token_id, skip_special_tokens=False)
    )
    size = kwargs.pop("max_gen_toks")
    if size >= lm.max_length and lm.backend == "causal":
        raise ModelError(
            f"{request.task_name} asks for {size} new tokens, but the model's context holds {lm.max_length} "
            "tokens, prompt included. Lower the task's max_gen_toks, or take another model"
        )
    if kwargs.pop("do_sample", False) or kwargs.pop("temperature", 0.0) or kwargs or size >= lm.max_length:
        return None
    ids, _ = lm.tok_batch_encode([context])
    return GenerateRequest(tuple(ids[0].tolist()[-(lm.max_length - size) :]), tuple(stop), size)


def generate_texts(
    lm: Any, requests: Sequence[GenerateRequest], run: Callable[..., None], recorder: Recorder
) -> list[str]:
    """Greedy texts; equal requests are computed once.

    Args:
        lm: The lm-eval model, for its tokenizer.
        requests: What to continue.
        run: Called with the different requests, `done` (the indices of those that are known) and `on_batch`, which
            takes token ids by index, as `scorer.generate` does.
        recorder: Knows the texts that are done, and hears of the others.

    Raises:
        NonFiniteError: with the index of a request whose logits are not numbers.
    """
    copies: dict[GenerateRequest, list[int]] = {}
    for index, request in enumerate(requests):
        copies.setdefault(request, []).append(index)
    unique = list(copies)

    def record(texts: dict[int, list[int]]) -> None:
        responses = {}
        for number, tokens in texts.items():
            stop = list(unique[number].stop)
            text = postprocess_generated_text(lm.tok_decode(tokens), stop=stop, think_end_token=None)
            responses.update(dict.fromkeys(copies[unique[number]], text))
        recorder.record(responses)
        recorder.on_progress(len(recorder.done), len(requests))

    done = frozenset(i for i, request in enumerate(unique) if copies[request][0] in recorder.done)
    try:
        run(unique, done=done, on_batch=record)
    except NonFiniteError as error:
        raise NonFiniteError(copies[unique[error.row]][0]) from None
    return [recorder.done[i] for i in range(len(requests))]
