"""An engine in a process of its own, seen from ours: started, spoken to, and ended with us."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distill_eval.bench.messages import Job, Loaded, Said, Start
from distill_eval.errors import ModelError, ServerError
from distill_eval.record import from_json, to_json_line
from distill_eval.serving import guard

LOAD_S = 1800.0
"""Deadline for a loaded model."""
END_S = 10.0
"""From the end of its input to the signal that cannot be refused."""
_LAST_LINES = 3


class Gone(Exception):  # noqa: N818 - what it is to the caller depends on when it happens
    """The process has ended, or does not answer in time."""


class EngineProcess:
    """A process that runs a model."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log
        self._buffer = b""
        self.pid = process.pid

    def tell(self, message: Start | Job) -> None:
        """Send a line.

        Raises:
            Gone: nobody reads it.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(to_json_line(message).encode("utf-8", "surrogatepass"))
            self._process.stdin.flush()
        except OSError as error:
            raise Gone(self.ending()) from error

    def hear(self, seconds: float) -> Said:
        """The next thing it says.

        Raises:
            Gone: it has ended, or says nothing for so long.
        """
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self.kill()
                raise Gone(f"the engine's process did not answer for {seconds:.0f} s and was ended")
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise Gone(self.ending())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return from_json(Said, line, source="the engine's process")

    def interrupt(self) -> None:
        """End its job."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def ending(self) -> str:
        """How the process ended."""
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            memory = "; the system does so when memory is short" if name == "SIGKILL" else ""
            return f"the engine's process was ended by {name}{memory}"
        return f"the engine's process ended with code {code}"

    def last_lines(self) -> str:
        """The end of what it printed."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        return " | ".join([line.strip() for line in lines if line.strip()][-_LAST_LINES:])

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it: politely, since it may have processes of its own, then not."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()
        finally:
            if self._process.poll() is None:
                self.kill()
            if self._process.stdout is not None:
                self._process.stdout.close()


@contextmanager
def engine_process(start: Start, log: Path) -> Iterator[tuple[EngineProcess, Loaded]]:
    """A process with a loaded model, for as long as the block; it ends when we do, too.

    Args:
        start: What it loads.
        log: Where what libraries print goes; the file stays.

    Raises:
        ModelError: the model cannot be loaded.
        ServerError: the process ended before it was loaded, or was not in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, guard.__file__, str(os.getpid()), sys.executable, "-m", "distill_eval.bench.worker"]
    with log.open("wb") as printed:
        opened = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed, start_new_session=True
        )
    process = EngineProcess(opened, log)
    try:
        yield process, _loaded(process, start, log)
    finally:
        process.close()


def _loaded(process: EngineProcess, start: Start, log: Path) -> Loaded:
    try:
        process.tell(start)
        said = process.hear(LOAD_S)
    except Gone as gone:
        raise ServerError(
            f'{gone}, before {start.name} was loaded. Its last lines: "{process.last_lines()}". Log: {log}'
        ) from gone
    if said.loaded is None:
        raise ModelError(said.failed or f"{start.name} cannot be loaded. Log: {log}")
    return said.loaded
