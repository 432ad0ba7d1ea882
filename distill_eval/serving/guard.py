"""Becomes another program that ends when its parent does: `python guard.py PARENT_PID PROGRAM ARGUMENTS...`.

Run as a program of its own, so that nothing has to happen between fork and exec in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(words: list[str]) -> None:
    """Ask Linux for SIGTERM at the parent's death, then be the program; elsewhere the program alone."""
    parent, *command = words
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it died before it was asked
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
