"""Ends a process group once its starter has died: `python watch.py GROUP SECONDS`, the starter at stdin's other end.

The signal that `guard.py` asks for is not enough: a server that is still building its engine puts SIGTERM off until the
engine stands, which takes minutes on a busy machine. Run as a program of its own, since the starter may be killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time


def main(group: int, patience_s: float) -> None:
    """Wait for the end of stdin, then end the group: politely, and after that time with what cannot be refused."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # its end is the starter's to decide
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone
        os.killpg(group, signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.1)
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
