"""Whether a server can be measured, asked before anything is sent."""

from __future__ import annotations

from typing import Any, NamedTuple

from distill_eval.bench.answer import message_of
from distill_eval.errors import ModelError, UsageError, nearest

try:
    import httpx
except ModuleNotFoundError as error:
    raise UsageError("a server is asked with httpx. Type: pip install 'distill-eval[bench]'") from error

_TIMEOUT_S = 10.0


class Served(NamedTuple):
    """A model of a server."""

    name: str
    """What requests call it."""
    max_model_len: int | None
    """Tokens of prompt and answer together, where the server says so (vLLM does)."""


def root_of(address: str) -> str:
    """The address without a path: users copy it with and without `/v1`."""
    return address.rstrip("/").removesuffix("/v1").rstrip("/")


def check(address: str, model: str | None, key: str | None = None) -> Served:
    """Ask the server for its models, in OpenAI's form.

    Args:
        address: E.g. `http://127.0.0.1:8000`; `/v1` at its end is understood.
        model: A name there, or what it was loaded from; `None` takes the only one that it has.
        key: Sent as `Authorization: Bearer`.

    Raises:
        ModelError: nothing answers, or not in that form; what came back is said.
        UsageError: the address is none, or the server does not have this model.
    """
    url = f"{root_of(address)}/v1/models"
    try:
        with httpx.Client(trust_env=False, timeout=_TIMEOUT_S) as client:
            response = client.get(url, headers=headers_of(key))
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise UsageError(f"--endpoint {address}: expected an address such as http://127.0.0.1:8000") from error
    except httpx.TransportError as error:
        raise ModelError(
            f"cannot reach {url}: {str(error) or type(error).__name__}. Start the server, wait until it is healthy, "
            "and give its address with --endpoint"
        ) from error
    return _chosen(_models(response, url), model, address)


def headers_of(key: str | None) -> dict[str, str]:
    """What authorizes a request."""
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _models(response: httpx.Response, url: str) -> list[dict[str, Any]]:
    if response.status_code in (401, 403):
        raise ModelError(f"{url} refuses the key (status {response.status_code}: {message_of(response.content)})")
    came = f"status {response.status_code}: {message_of(response.content) or 'nothing'}"
    refusal = f"{url} is not of an OpenAI-compatible server; it answered with {came}"
    if response.status_code != httpx.codes.OK:
        raise ModelError(refusal)
    try:
        models = response.json()["data"]
        if all(isinstance(model["id"], str) for model in models):
            return list(models)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(refusal) from error
    raise ModelError(refusal)


def _chosen(models: list[dict[str, Any]], wanted: str | None, address: str) -> Served:
    names = [model["id"] for model in models]
    listing = f"{address} serves {', '.join(names) or 'no model'}"
    if wanted is None:
        if len(models) != 1:
            raise UsageError(f"{listing}: name one with --model")
        return _served(models[0])
    for model in models:
        if wanted in (model["id"], model.get("root")):
            return _served(model)
    guesses = nearest(wanted, names)
    hint = f". Did you mean {' or '.join(map(repr, guesses))}?" if guesses else ""
    raise UsageError(f"--model {wanted}: {listing}{hint}")


def _served(model: dict[str, Any]) -> Served:
    length = model.get("max_model_len")
    return Served(model["id"], length if isinstance(length, int) else None)
