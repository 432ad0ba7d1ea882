"""A smoke test of a server, whoever started it: health, models, a completion, a streamed one, metrics, the key.

    DISTILL_EVAL_API_KEY=... python serve/smoke.py http://127.0.0.1:8000

Python alone is enough. Exit code 0 when all of it answers as it should, else 1 with the first thing that does not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

PROMPT, NUM_TOKENS = "The capital of France is", 8
METRICS = ("vllm:num_requests_running", "vllm:time_to_first_token_seconds_bucket", "vllm:kv_cache_usage_perc")
# A proxy of the environment has no way to a server on this machine or in its network.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SmokeError(Exception):
    """Raised when the server does not answer as it should."""


def ask(url: str, key: str | None, body: dict | None = None, timeout: float = 120.0) -> tuple[int, str]:
    """Status and text of an answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with OPENER.open(request, timeout=timeout) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        raise SmokeError(f"{url} does not answer: {error}") from error


def expect(condition: bool, what: str, said: object) -> None:
    """Refuse an answer."""
    if not condition:
        raise SmokeError(f"{what}; the server said: {str(said)[:300]}")


def wait_healthy(address: str, seconds: float) -> None:
    """Wait until the server is healthy."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            status, text = ask(f"{address}/health", None, timeout=5)
        except SmokeError as error:
            status, text = 0, str(error)
        if status == 200:
            return
        expect(time.monotonic() < deadline, f"/health is {status} after {seconds:.0f} s", text)
        time.sleep(1)


def model_name(address: str, key: str | None) -> str:
    """The first model that is served."""
    status, text = ask(f"{address}/v1/models", key)
    expect(status == 200, f"/v1/models is {status}, expected 200 (is DISTILL_EVAL_API_KEY the server's key?)", text)
    return str(json.loads(text)["data"][0]["id"])


def complete(address: str, key: str | None, model: str) -> str:
    """A completion, of the length that was asked for."""
    body = {"model": model, "prompt": PROMPT, "max_tokens": NUM_TOKENS, "temperature": 0, "ignore_eos": True}
    status, text = ask(f"{address}/v1/completions", key, body)
    expect(status == 200, f"/v1/completions is {status}, expected 200", text)
    answer = json.loads(text)
    expect(answer["usage"]["completion_tokens"] == NUM_TOKENS, f"expected {NUM_TOKENS} tokens", text)
    return str(answer["choices"][0]["text"])


def stream(address: str, key: str | None, model: str) -> int:
    """The same in pieces, and their number."""
    body = {"model": model, "prompt": PROMPT, "max_tokens": NUM_TOKENS, "temperature": 0, "ignore_eos": True}
    status, text = ask(
        f"{address}/v1/completions", key, body | {"stream": True, "stream_options": {"include_usage": True}}
    )
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    expect(status == 200 and len(events) > 2 and events[-1] == "[DONE]", "expected a stream that ends in [DONE]", text)
    *pieces, last = [json.loads(event) for event in events[:-1]]
    expect(last["usage"]["completion_tokens"] == NUM_TOKENS, f"expected {NUM_TOKENS} tokens", text)
    return len([piece for piece in pieces if piece["choices"][0]["text"]])


def check(address: str, key: str | None, wait: float) -> list[str]:
    """All of it; a line on each part.

    Raises:
        SmokeError: something does not answer as it should.
    """
    wait_healthy(address, wait)
    model = model_name(address, key)
    text, num_pieces = complete(address, key, model), stream(address, key, model)
    lines = ["health: ok", f"model: {model}", f"completion: {text!r}", f"streamed in {num_pieces} pieces"]
    status, text = ask(f"{address}/metrics", None)
    missing = [name for name in METRICS if name not in text]
    expect(status == 200 and not missing, f"/metrics is {status} and lacks {', '.join(missing) or 'nothing'}", text)
    lines.append("metrics: ok")
    if key:
        status, text = ask(f"{address}/v1/models", "not-" + key)
        expect(status == 401, f"a wrong key gives {status}, expected 401", text)
        body = {"model": model, "prompt": PROMPT, "max_tokens": 1}
        status, text = ask(f"{address}/invocations", None, body)
        expect(status == 401, f"/invocations without a key gives {status}, expected 401", text)
        lines.append("key: asked for")
    return lines


def main() -> int:
    """Check the server that the command line names."""
    parser = argparse.ArgumentParser(description="Smoke test of a vLLM server")
    parser.add_argument("address", help="e.g. http://127.0.0.1:8000")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds within which it must become healthy")
    words = parser.parse_args()
    try:
        print("\n".join(check(words.address.rstrip("/"), os.environ.get("DISTILL_EVAL_API_KEY"), words.wait)))
    except SmokeError as error:
        print(f"smoke test failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
