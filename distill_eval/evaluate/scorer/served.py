"""Token requests on a server with OpenAI's completions interface and vLLM's additions to it.

An option of one token is read off the distribution behind its context, where vLLM's prefix cache helps; all such
options of a context are one request. Longer ones ask for the log-probabilities of the prompt, for which vLLM computes
the prompt anew: each is sent once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.errors import ModelError, ServerError
from distill_eval.evaluate.scorer.generate import GenerateRequest
from distill_eval.evaluate.scorer.packed import LogLikelihood
from distill_eval.evaluate.scorer.tree import TokenRequest

if TYPE_CHECKING:
    import httpx

CONCURRENCY = 16
"""Requests in flight: the server batches them."""
MAX_LABELS = 128
"""Of vLLM's `logprob_token_ids`."""
TIMEOUT_S = 600.0
_GREEDY = {"temperature": 0.0, "add_special_tokens": False}


class Ask(NamedTuple):
    """One request to the server, and the token requests that its answer settles."""

    body: dict[str, Any]
    indices: tuple[int, ...]


class ServedEngine:
    """Scores and continues token requests (an `engine_lm.TokenEngine`)."""

    plain_reason: str | None = "a server computes each request by itself"

    def __init__(self, client: httpx.Client, model: str, max_length: int, log: Path) -> None:
        """Prepare.

        Args:
            client: With the server's address.
            model: What the server calls the model.
            max_length: Tokens that a request may read; the server takes two more.
            log: The server's, for messages.
        """
        self.max_length = max_length
        self._client, self._model, self._log = client, model, log

    def score(
        self,
        requests: Sequence[TokenRequest],
        *,
        done: frozenset[int],
        on_scores: Callable[[dict[int, LogLikelihood]], None],
        on_tokens: Callable[[int, int], None],
    ) -> None:
        """Score every request that is not `done`; equal ones are sent once.

        Raises:
            ServerError: the server fails, or answers something else.
            ModelError: its answer lacks a log-probability.
        """
        asks = score_asks(requests, done)
        num_tokens = sum(len(request.inputs) for request in requests)
        num_seen = sum(len(requests[index].inputs) for index in done)

        def take(ask: Ask, choice: dict[str, Any]) -> None:
            nonlocal num_seen
            on_scores({index: read_score(choice, requests[index]) for index in ask.indices})
            num_seen += sum(len(requests[index].inputs) for index in ask.indices)
            on_tokens(num_seen, num_tokens)

        self._send(asks, take)

    def generate(
        self,
        requests: Sequence[GenerateRequest],
        *,
        done: frozenset[int],
        on_batch: Callable[[dict[int, list[int]]], None],
    ) -> None:
        """Greedy continuations of the requests that are not `done`, as token ids.

        Raises:
            ServerError: the server fails, or answers something else.
        """
        asks = [Ask(generate_body(request), (i,)) for i, request in enumerate(requests) if i not in done]
        self._send(asks, lambda ask, choice: on_batch({ask.indices[0]: [int(token) for token in choice["token_ids"]]}))

    def _send(self, asks: Sequence[Ask], take: Callable[[Ask, dict[str, Any]], None]) -> None:
        """Send everything and take each choice as it comes, in this thread.

        What waits behind a failure is not sent, and what is in flight then is not waited for: the server ends.
        """
        pool = ThreadPoolExecutor(CONCURRENCY)
        try:
            waiting: dict[Future[dict[str, Any]], Ask] = {pool.submit(self._post, ask.body): ask for ask in asks}
            for future in as_completed(waiting):
                take(waiting[future], future.result())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        import httpx

        where = f"the server at {self._client.base_url}"
        try:
            answer = self._client.post("/v1/completions", json={"model": self._model, **body}, timeout=TIMEOUT_S)
        except httpx.TransportError as error:
            what = f"{where} does not answer any more ({type(error).__name__})"
            raise ServerError(f"{what}. Log: {self._log}") from error
        if answer.status_code != httpx.codes.OK:
            raise ServerError(f"{where} answered {answer.status_code}: {answer.text[:300]}. Log: {self._log}")
        try:
            choice: dict[str, Any] = answer.json()["choices"][0]
        except (ValueError, LookupError) as error:
            raise ServerError(f"{where} answered without a choice: {answer.text[:300]}. Log: {self._log}") from error
        return choice


def score_asks(requests: Sequence[TokenRequest], done: frozenset[int]) -> list[Ask]:
    """What to send: one request for each context with its one-token options, and for each longer option."""
    labels: dict[tuple[int, ...], list[int]] = {}
    texts: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        if index in done:
            continue
        if len(request.targets) == 1:
            labels.setdefault(request.inputs, []).append(index)
        else:
            texts.setdefault((*request.inputs, request.targets[-1]), []).append(index)
    asks = [
        _label_ask(requests, inputs, indices[start : start + MAX_LABELS])
        for inputs, indices in labels.items()
        for start in range(0, len(indices), MAX_LABELS)
    ]
    for ids, indices in texts.items():
        body = {**_GREEDY, "prompt": list(ids), "max_tokens": 1, "prompt_logprobs": 0}
        asks.append(Ask(body, tuple(indices)))
    return asks


def _label_ask(requests: Sequence[TokenRequest], inputs: tuple[int, ...], indices: Sequence[int]) -> Ask:
    body = {
        **_GREEDY,
        "prompt": list(inputs),
        "max_tokens": 1,
        "logprobs": 0,
        "logprob_token_ids": sorted({requests[index].targets[0] for index in indices}),
        "return_tokens_as_token_ids": True,
    }
    return Ask(body, tuple(indices))


def generate_body(request: GenerateRequest) -> dict[str, Any]:
    """Greedy decoding up to a stop string, as token ids."""
    return {
        **_GREEDY,
        "prompt": list(request.inputs),
        "max_tokens": request.max_new_tokens,
        "stop": list(request.stop),
        "return_token_ids": True,
    }


def read_score(choice: dict[str, Any], request: TokenRequest) -> LogLikelihood:
    """The log-likelihood of a request's targets, and whether each is the most likely token.

    Raises:
        ModelError: the answer lacks one of the targets.
    """
    try:
        if len(request.targets) == 1:
            found, name = choice["logprobs"], f"token_id:{request.targets[0]}"
            return LogLikelihood(float(found["top_logprobs"][0][name]), found["tokens"][0] == name)
        rows = choice["prompt_logprobs"][-len(request.targets) :]
        entries = [row[str(target)] for row, target in zip(rows, request.targets, strict=True)]
        total = math.fsum(float(entry["logprob"]) for entry in entries)
        return LogLikelihood(total, all(entry["rank"] == 1 for entry in entries))
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"the server's answer lacks a log-probability that was asked for ({type(error).__name__}: {error}): "
            "--engine vllm needs vLLM 0.32 or newer"
        ) from error
