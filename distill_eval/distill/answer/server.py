"""Answers of a teacher behind an OpenAI-compatible server, many requests at once.

A request that fails for a reason that may pass (no connection, no answer in time, status 429 or 5xx, an answer that is
not JSON) is tried again. One that fails for good is an error, never an empty answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from distill_eval.distill.answer.asking import Keep, Sampling
from distill_eval.distill.documents import Document
from distill_eval.errors import ModelError, UsageError, boundary
from distill_eval.schema.answers import Answer, Form

ATTEMPTS = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Doubled from attempt to attempt: half a minute in all. What takes longer ends the run, which goes on from there."""
GIVE_UP_AFTER = 16
"""Failed requests in a row, each with all of its attempts, after which the server is held for lost."""
CONNECT_S = 10.0


class Failed(NamedTuple):
    """An attempt without an answer, for a reason that may pass."""

    reason: str
    wait_s: float = 0.0
    """As the server asked."""


class ServedTeacher:
    """A model of a server."""

    def __init__(
        self,
        endpoint: str,
        teacher: str,
        sampling: Sampling,
        *,
        form: Form,
        max_concurrency: int,
        timeout_s: float,
        api_key: str | None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Ask the server for its models.

        Args:
            endpoint: Its address, up to and with `/v1`.
            teacher: The model's name there, or the folder that it was started with.
            sampling: How tokens are chosen.
            form: Which of the two interfaces is asked.
            max_concurrency: Requests under way at once.
            timeout_s: Of one attempt.
            api_key: Sent with every request, and kept nowhere.
            sleep: Waits between two attempts.

        Raises:
            UsageError: the server has another model.
            ModelError: it cannot be reached, wants another key, or is no such server.
        """
        self._endpoint = endpoint.rstrip("/")
        self._sampling, self._form, self._sleep = sampling, form, sleep
        self._max_concurrency, self._timeout_s = max_concurrency, timeout_s
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._failed_in_row = 0
        self._model = _served(self._models(), teacher, self._endpoint)

    @property
    def facts(self) -> dict[str, Any]:
        """See `Engine`. Not the address: the same model answers alike at another."""
        return {"engine": "server", "teacher_digest": None, "served_model": self._model, "form": self._form}

    def answer(self, requests: Sequence[Document], done: Container[int], keep: Keep) -> None:
        """See `Engine`. Each request has a seed of its own, so that its answer does not depend on the others.

        Raises:
            ModelError: the server refuses the key or the form, or failed `GIVE_UP_AFTER` requests in a row.
        """
        asyncio.run(self._answer((pair for pair in enumerate(requests) if pair[0] not in done), keep))

    async def _answer(self, waiting: Iterator[tuple[int, Document]], keep: Keep) -> None:
        self._failed_in_row = 0
        limits = httpx.Limits(max_connections=self._max_concurrency)
        timeout = httpx.Timeout(self._timeout_s, connect=min(CONNECT_S, self._timeout_s))
        async with httpx.AsyncClient(headers=self._headers, limits=limits, timeout=timeout) as client:
            await asyncio.gather(*(self._work(client, waiting, keep) for _ in range(self._max_concurrency)))

    async def _work(self, client: httpx.AsyncClient, waiting: Iterator[tuple[int, Document]], keep: Keep) -> None:
        for number, prompt in waiting:
            found = await self._ask(client, number, prompt)
            if isinstance(found, Answer):
                self._failed_in_row = 0
                keep({number: found})
                continue
            self._failed_in_row += 1
            keep({number: Answer(error=f"{found.reason} ({ATTEMPTS} attempts)")})
            if self._failed_in_row >= GIVE_UP_AFTER:
                raise ModelError(
                    f"{self._endpoint} failed {GIVE_UP_AFTER} requests in a row, {ATTEMPTS} times each; the last: "
                    f"{found.reason}. What it answered is kept: look at the server, then type the same command again"
                )

    async def _ask(self, client: httpx.AsyncClient, number: int, prompt: Document) -> Answer | Failed:
        body = self._body(number, prompt)
        path = "/chat/completions" if self._form == "chat" else "/completions"
        for attempt in range(ATTEMPTS):
            found = await self._attempt(client, path, body)
            if isinstance(found, Answer) or attempt == ATTEMPTS - 1:
                return found
            await self._sleep(min(LONGEST_WAIT_S, max(found.wait_s, FIRST_WAIT_S * 2**attempt)))
        raise AssertionError("unreachable")

    def _body(self, number: int, prompt: Document) -> dict[str, Any]:
        sampling = self._sampling
        body = {"model": self._model, "max_tokens": sampling.max_new_tokens, "temperature": sampling.temperature}
        body["messages" if self._form == "chat" else "prompt"] = prompt
        if sampling.temperature > 0:
            body |= {"top_p": sampling.top_p, "seed": sampling.derived_seed(number)}
        return body

    async def _attempt(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Answer | Failed:
        try:
            response = await client.post(self._endpoint + path, json=body)
        except httpx.TimeoutException:
            return Failed(f"no answer within --timeout-s {self._timeout_s:g}")
        except httpx.TransportError as error:
            return Failed(f"no connection: {str(error) or type(error).__name__}")
        if response.status_code == 429 or response.status_code >= 500:
            return Failed(f"status {response.status_code}: {_message(response)}", _retry_after(response))
        if response.status_code != 200:
            return self._refused(response)
        try:
            return _read(response.json())
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return Failed(f"not an answer of an OpenAI-compatible server: {response.text[:80]!r}")

    def _refused(self, response: httpx.Response) -> Answer:
        """What is wrong with this request alone is its error; what is wrong with all of them ends the run."""
        status, message = response.status_code, _message(response)
        if status in (401, 403):
            raise ModelError(f"{self._endpoint} refuses the key (status {status}): set --api-key-variable's variable")
        if status in (404, 405) or "chat template" in message:
            raise ModelError(
                f"{self._endpoint} does not answer in the form {self._form} (status {status}: {message}). "
                f"Type --form {'text' if self._form == 'chat' else 'chat'}"
            )
        return Answer(error=f"status {status}: {message}")

    def _models(self) -> list[Mapping[str, Any]]:
        address = f"{self._endpoint}/models"
        try:
            response = httpx.get(address, headers=self._headers, timeout=max(CONNECT_S, 30.0))
        except httpx.TransportError as error:
            raise ModelError(
                f"cannot reach {address}: {str(error) or type(error).__name__}. Start the server, e.g. with "
                "`vllm serve TEACHER`, and wait until it is healthy"
            ) from error
        if response.status_code in (401, 403):
            raise ModelError(
                f"{address} wants a key (status {response.status_code}): put it into the environment variable that "
                "--api-key-variable names"
            )
        with boundary(ModelError, f"{address} is not of an OpenAI-compatible server (does --endpoint end in /v1?)"):
            response.raise_for_status()
            return list(response.json()["data"])


def _served(found: list[Mapping[str, Any]], teacher: str, endpoint: str) -> str:
    """The server's name for the teacher: as vLLM says, a model has a name and a root, which it was loaded from."""
    folder = str(Path(teacher).expanduser().resolve())
    for model in found:
        if teacher in (model.get("id"), model.get("root")) or folder == model.get("root"):
            return str(model["id"])
    names = ", ".join(sorted(str(model.get("id")) for model in found)) or "nothing"
    raise UsageError(
        f"--teacher {teacher}: {endpoint} serves {names}. Type --teacher with that name, or start the server with this "
        "model (vLLM: --served-model-name gives it another name)"
    )


def _read(body: Mapping[str, Any]) -> Answer:
    """The answer in a response of either interface."""
    choice, usage = body["choices"][0], body.get("usage") or {}
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    reason = choice["finish_reason"]
    if reason not in ("stop", "length"):
        return Answer(error=f"finish_reason {reason!r}: expected stop or length")
    if not isinstance(text, str | None):
        raise TypeError("expected text")
    return Answer(
        text=(text or "").encode("utf-8", "replace").decode(),  # JSON can hold half of a character
        finish_reason=reason,
        num_prompt_tokens=usage.get("prompt_tokens"),
        num_answer_tokens=usage.get("completion_tokens"),
    )


def _message(response: httpx.Response) -> str:
    """The server's own words, in one line."""
    try:
        body = response.json()
        error = body.get("error", body)
        said = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        said = response.text
    return " ".join(str(said).split())[:200]


def _retry_after(response: httpx.Response) -> float:
    """Seconds; 0 where the server does not say, or names a date."""
    try:
        return max(0.0, float(response.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0
