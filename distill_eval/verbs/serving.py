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
from distill_eval.serving.config import KEY, OWN_KEY, ServeConfig, environment
from distill_eval.serving.config import argv as server_argv
from distill_eval.verbs.training import say

if TYPE_CHECKING:
    from distill_eval.serving.options import ServeOptions
    from distill_eval.serving.server import Endpoint

POLL_S = 0.5
PROMPT = "The capital of France is"


def serve(options: ServeOptions, argv: Sequence[str]) -> int:
    """Serve a model; 0 when it was told to end while it served, as `vllm serve` does."""
    from distill_eval.serving import server
    from distill_eval.serving.resolve import resolve

    if options.api_key is not None and list(argv) == sys.argv[1:]:
        _say_key_elsewhere(options.api_key)
    config, said = resolve(options, os.environ)
    log = options.log or Path(f"serve-{config.port}.log")
    if options.dry_run:
        print("\n".join([*(f"# {line}" for line in said), _command(config)]))
        return 0
    say(f"vLLM starts for {config.served_name} at {config.address}; its log: {log}")
    for line in said:
        say(f"  {line}")
    with _ending_politely():
        begun = False
        try:
            with server.serve(config, log, ready_s=options.ready_timeout, say=say) as endpoint:
                begun = True
                say(_welcome(endpoint))
                _watch(endpoint, follow=options.follow)
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


def _welcome(endpoint: Endpoint) -> str:
    """Where it answers, what it is, and three ways to call it."""
    engine, url, name = endpoint.engine, endpoint.address, endpoint.model
    room = (
        "" if engine.kv_cache_tokens is None else f", room for {engine.kv_cache_tokens:,} in {engine.kv_blocks} blocks"
    )
    what = f"vLLM {engine.version or ''} on {endpoint.device}, {endpoint.dtype or 'unsaid dtype'}"
    is_open = endpoint.api_key is None
    header = "" if is_open else f' -H "Authorization: Bearer ${OWN_KEY}"'
    body = json.dumps({"model": name, "prompt": PROMPT, "max_tokens": 16})
    key = "'none'" if is_open else f"os.environ['{OWN_KEY}']"
    client = f"OpenAI(base_url='{url}/v1', api_key={key})"
    asked = f"{client}.completions.create(model={name!r}, prompt={PROMPT!r}, max_tokens=16).choices[0].text"
    lines = (
        f"{name} at {url} after {endpoint.start_s:.0f} s: {what}, {endpoint.max_model_len:,} tokens{room}",
        f"  curl {url}/v1/completions{header} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        f'  python -c "import os; from openai import OpenAI; print({asked})"',
        f"  distill-eval bench --endpoint {url} --model {shlex.quote(name)}",
        "Ctrl-C ends it",
    )
    return "\n".join(lines)


def _watch(endpoint: Endpoint, *, follow: bool) -> None:
    """Return never: wait until the server ends by itself, or something is raised.

    Raises:
        ServerError: it has ended.
    """
    from distill_eval.serving.server import why_ended

    with endpoint.log.open("rb") as log:
        while True:
            why = why_ended(endpoint)
            if follow:
                sys.stdout.write(log.read().decode("utf-8", errors="replace"))
                sys.stdout.flush()
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
