"""The verb `serve`: a model behind an address, until it is told to end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from distill_eval.errors import ServerError
from distill_eval.serving.config import OWN_KEY, ServeConfig, environment
from distill_eval.serving.config import argv as server_argv
from distill_eval.serving.gate import KEY
from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.serving.options import ServeOptions
    from distill_eval.serving.server import Endpoint

POLL_S = 0.5
PROMPT = "The capital of France is"


def serve(options: ServeOptions, argv: Sequence[str]) -> int:
    """Serve a model; 0 when it was told to end while it served, as `vllm serve` does."""
    if options.api_key is not None and list(argv) == sys.argv[1:]:
        _say_key_elsewhere(options.api_key)
    with _ending_politely():
        return _serve(options)


def _serve(options: ServeOptions) -> int:
    from distill_eval.serving import server
    from distill_eval.serving.resolve import key_variable, resolve

    config, said = resolve(options, os.environ)
    log = options.log or Path(f"serve-{config.port}.log")
    if options.dry_run:
        print("\n".join([*(f"# {line}" for line in said), _command(config)]))
        return 0
    say(f"vLLM starts for {config.served_name} at {config.address}; its log: {log}")
    for line in said:
        say(f"  {line}")
    begun, show = False, _show if options.follow else None
    try:
        with server.serve(config, log, ready_s=options.ready_timeout, say=say, show=show) as endpoint:
            begun = True
            say(welcome(endpoint, key_variable(options, os.environ)))
            _watch(endpoint)
    except (KeyboardInterrupt, SystemExit):
        if not begun:
            raise
    say("vLLM has ended")
    return 0


def _say_key_elsewhere(key: str) -> None:
    """Become the same command without the key, which all users of the machine can read in the list of processes."""
    words, kept = iter(sys.orig_argv[1:]), []
    for word in words:
        name, has_value, _ = word.replace("_", "-").partition("=")
        if name != "--api-key":
            kept.append(word)
        elif not has_value:
            next(words)
    os.execve(sys.executable, [sys.executable, *kept], {**os.environ, OWN_KEY: key})


def _command(config: ServeConfig) -> str:
    """What would be started, as a shell takes it; a key is named and not shown."""
    ours = environment(config, os.environ)
    new = {name: value for name, value in ours.items() if os.environ.get(name) != value}
    shown = [f"{name}={f'${OWN_KEY}' if name == KEY else shlex.quote(value)}" for name, value in new.items()]
    return " ".join([*shown, shlex.join(server_argv(config))])


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def welcome(endpoint: Endpoint, variable: str | None) -> str:
    """Where it answers, what it is, and three ways to call it.

    Args:
        endpoint: Of the server.
        variable: For the key that requests must carry, if there is one.
    """
    engine, url, name = endpoint.engine, endpoint.address, endpoint.model
    room = (
        "" if engine.kv_cache_tokens is None else f", room for {engine.kv_cache_tokens:,} in {engine.kv_blocks} blocks"
    )
    what = f"vLLM {engine.version or ''} on {endpoint.device}, {endpoint.dtype or 'unsaid dtype'}"
    first = [] if variable is None else [f"  where you call it from, first export {variable}, the key of its requests"]
    header = "" if variable is None else f' -H "Authorization: Bearer ${variable}"'
    body = json.dumps({"model": name, "prompt": PROMPT, "max_tokens": 16})
    key = "'none'" if variable is None else f"os.environ['{variable}']"
    with_key = "" if variable is None else f" --api-key-variable {variable}"
    client = f"OpenAI(base_url='{url}/v1', api_key={key})"
    asked = f"{client}.completions.create(model={name!r}, prompt={PROMPT!r}, max_tokens=16).choices[0].text"
    lines = (
        f"{name} at {url} after {endpoint.start_s:.0f} s: {what}, {endpoint.max_model_len:,} tokens{room}",
        *first,
        f"  curl {url}/v1/completions{header} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        f'  python -c "import os; from openai import OpenAI; print({asked})"',
        f"  distill-eval bench --endpoint {url} --model {shlex.quote(name)}{with_key}",
        "Ctrl-C ends it",
    )
    return "\n".join(lines)


def _watch(endpoint: Endpoint) -> None:
    """Return never: wait until the server ends by itself, or something is raised.

    Raises:
        ServerError: it has ended.
    """
    from distill_eval.serving.server import why_ended

    while True:
        why = why_ended(endpoint)
        if why is not None:
            raise ServerError(why)
        time.sleep(POLL_S)


@contextmanager
def _ending_politely() -> Iterator[None]:
    """SIGTERM and a closed terminal end the block as an exception, so that the server ends before this process."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
