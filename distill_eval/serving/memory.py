"""How much memory a server takes, and how much there is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from distill_eval.serving.ticking import ticking

SECONDS_BETWEEN = 0.5
CGROUP = Path("/sys/fs/cgroup")
MIB = 1 << 20
_QUERY = ("--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits")


class Memory(NamedTuple):
    """Bytes that the processes of a group take at one time."""

    num_bytes: int | None
    """`None` when they cannot be read."""
    measure: str
    """What was counted, or why nothing was."""


PSS = "resident (PSS: shared pages counted once)"
RSS = "resident (RSS: pages that its processes share are counted for each)"
GPU = "memory of the GPU (nvidia-smi)"


def resident(group: int) -> Memory:
    """Memory of all processes of a group; pages shared with processes outside are divided among all (PSS)."""
    pss, rss, num_read = 0, 0, 0
    for process in processes(group):
        try:
            rss += process.memory_info().rss
            pss += process.memory_full_info().pss if sys.platform == "linux" else 0
            num_read += 1
        except psutil.Error:  # it ended meanwhile
            continue
    if not num_read:
        return Memory(None, "the server's processes have ended")
    return Memory(pss, PSS) if pss else Memory(rss, RSS)


def on_gpu(group: int, program: str = "nvidia-smi") -> Memory:
    """Memory of the GPUs that the processes of a group take.

    Args:
        group: Of processes.
        program: NVIDIA's, to ask.
    """
    if shutil.which(program) is None:
        return Memory(None, f"{program} is not there to say how much memory of the GPU is taken")
    done = subprocess.run([program, *_QUERY], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return Memory(None, f"{program} ended with code {done.returncode}: {done.stderr.strip()[:200]}")
    ours = {process.pid for process in processes(group)}
    rows = [line.split(",") for line in done.stdout.splitlines() if line.strip()]
    taken = [int(size) * MIB for pid, size in rows if int(pid) in ours and size.strip().isdigit()]
    if not taken:  # in a container, nvidia-smi knows other numbers for our processes
        return Memory(None, f"{program} names no process of the server")
    return Memory(sum(taken), GPU)


def processes(group: int) -> list[psutil.Process]:
    """The processes of a group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group:
                found.append(process)
        except OSError:  # it ended, or is not ours to ask about
            continue
    return found


class Peak:
    """The most that was seen so far."""

    def __init__(self) -> None:
        self.seen = Memory(None, "nothing was read")

    def note(self, now: Memory) -> None:
        """Take one reading into account; one that failed does not hide those that did not."""
        if self.seen.num_bytes is None or (now.num_bytes is not None and now.num_bytes > self.seen.num_bytes):
            self.seen = now


@contextmanager
def watched(read: Callable[[], Memory], seconds: float = SECONDS_BETWEEN) -> Iterator[Peak]:
    """The peak of a memory while the block runs, read twice a second by default."""
    peak = Peak()
    with ticking(lambda: peak.note(read()), seconds):
        yield peak


def available_bytes(cgroup: Path = CGROUP) -> int:
    """Memory that a new process can take: what the machine has left, or less where a container has a limit."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        taken = int((cgroup / "memory.current").read_text(encoding="ascii"))
        files = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="ascii").splitlines())
    except OSError:
        return free
    if not limit.isdigit():
        return free
    # Files in memory count as taken, but the kernel drops those that are not in use.
    return min(free, max(0, int(limit) - taken + int(files.get("inactive_file", 0))))
