"""How much memory a server takes, and how much there is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
ENDED = "the server's processes have ended"
GPU = "memory of the GPU (nvidia-smi)"


def resident(group: int) -> Memory:
    """Memory of all processes of a group; of pages shared with processes outside it, its part (PSS)."""
    if sys.platform != "linux":
        found = _rss(group)
        return Memory(found, RSS) if found else Memory(None, ENDED)
    sizes = []
    for process in processes(group):
        with suppress(psutil.Error):  # it ended meanwhile
            sizes.append(process.memory_full_info().pss)
    return Memory(sum(sizes), PSS) if sizes else Memory(None, ENDED)


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


class Watched:
    """What a server's processes took while a block ran."""

    def __init__(self, rest: Memory) -> None:
        self.rest = self.peak = rest

    def note(self, now: Memory) -> None:
        """Take one reading into account; one that failed does not hide those that did not."""
        if self.peak.num_bytes is None or (now.num_bytes is not None and now.num_bytes > self.peak.num_bytes):
            self.peak = now


@contextmanager
def watched(group: int, device: str, seconds: float = SECONDS_BETWEEN) -> Iterator[Watched]:
    """The peak of a server's memory while the block runs.

    Counting shared pages once takes 0.1 s of a core for 3 GiB, which would be seen in what is measured beside
    it. So that is done before and after the block; meanwhile the growth of what each process has (RSS) is added to it.

    Args:
        group: Of the server's processes.
        device: `cpu` or `cuda[:n]`, whose memory counts.
        seconds: Between readings.
    """
    if device.partition(":")[0] == "cuda":
        found = Watched(on_gpu(group))
        with ticking(lambda: found.note(on_gpu(group)), seconds):
            yield found
        return
    found, began = Watched(resident(group)), _rss(group)
    rest = found.rest.num_bytes

    def read() -> None:
        now = _rss(group)
        if rest is not None and now:
            found.note(Memory(rest + now - began, found.rest.measure))

    with ticking(read, seconds):
        yield found
    found.note(resident(group))


def _rss(group: int) -> int:
    """Resident bytes of all processes of a group, shared pages as often as they are shared; 0 when all have ended."""
    sizes = []
    for process in processes(group):
        with suppress(psutil.Error):
            sizes.append(process.memory_info().rss)
    return sum(sizes)


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
