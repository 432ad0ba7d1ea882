"""What asks for the key in front of vLLM's own application."""

import asyncio
import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.serving.config import ServeConfig, argv
from distill_eval.serving.gate import Gate

KEY = "geheim"
LOCKED = ServeConfig(model=Path("m"), served_name="m", port=8123, max_model_len=2048, api_key=KEY)


async def application(scope, receive, send):
    await send({"type": "answered", "path": scope.get("path")})


def asked(monkeypatch, path, *, key=None, method="POST", kind="http", **more):
    """What a request gets: `answered` by the application, or what the gate says."""
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"x")] + ([] if key is None else [(b"authorization", key.encode())])
    scope = {"type": kind, "path": path, "headers": headers} | ({"method": method} if kind == "http" else {}) | more
    asyncio.run(Gate(application)(scope, None, send))
    return sent


def is_let_in(sent):
    return [message["type"] for message in sent] == ["answered"]


@pytest.mark.parametrize(
    "path", ["/invocations", "/v1/completions", "/tokenize", "/load", "/", "//invocations", "/health/x", "/HEALTH"]
)
def test_every_path_asks_for_the_key(monkeypatch, path):
    for key in (None, KEY, f"Bearer {KEY}x", f"Bearer not-{KEY}", f"Basic {KEY}", "Bearer", "Bearer "):
        start, body = asked(monkeypatch, path, key=key)
        assert (start["status"], body["body"]) == (401, b'{"error": "Unauthorized"}'), key
    assert is_let_in(asked(monkeypatch, path, key=f"Bearer {KEY}"))
    assert is_let_in(asked(monkeypatch, path, key=f"bearer {KEY}"))


@pytest.mark.parametrize("path", ["/health", "/metrics", "/version", "/ping"])
def test_what_probes_ask_for_is_open(monkeypatch, path):
    assert is_let_in(asked(monkeypatch, path, method="GET"))
    assert is_let_in(asked(monkeypatch, f"/below{path}", method="GET", root_path="/below"))
    assert not is_let_in(asked(monkeypatch, path, kind="websocket"))


def test_other_kinds_of_messages(monkeypatch):
    assert is_let_in(asked(monkeypatch, "/v1/completions", method="OPTIONS")), "a browser asks what it may send"
    assert is_let_in(asked(monkeypatch, None, kind="lifespan")), "the server's begin and end"
    assert asked(monkeypatch, "/v1/realtime", kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    assert is_let_in(asked(monkeypatch, "/v1/realtime", kind="websocket", key=f"Bearer {KEY}"))


def test_without_a_key_there_is_no_server(monkeypatch):
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with pytest.raises(KeyError, match="VLLM_API_KEY"):
        Gate(application)


def test_the_server_is_told_to_load_it():
    words = argv(LOCKED)
    module, _, name = words[words.index("--middleware") + 1].rpartition(".")
    assert getattr(importlib.import_module(module), name) is Gate
    assert "--middleware" not in argv(replace(LOCKED, api_key=None))


def test_it_brings_nothing_into_the_server():
    names = "import sys; {}print(*{{name.partition('.')[0] for name in sys.modules}})"

    def loaded(line):
        words = [sys.executable, "-c", names.format(line)]
        return set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())

    ours = loaded("import distill_eval.serving.gate; ") - loaded("")
    assert ours - sys.stdlib_module_names == {"distill_eval"}
