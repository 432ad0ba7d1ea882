"""Joules that a block of code took, where the platform counts them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from distill_eval.serving.ticking import ticking

POWERCAP = Path("/sys/class/powercap")
SECONDS_BETWEEN = 1.0
_MICRO = 1e-6


class Meter(Protocol):
    """Counts joules."""

    joules: float | None
    """Since its block began; `None` when it cannot be counted."""
    reason: str | None
    """Why it cannot."""

    def read(self) -> None:
        """Take another reading."""


class PackageMeter:
    """Of the processor packages (RAPL), with everything that runs on them: the machine should do nothing else."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self.joules: float | None = None
        self.reason: str | None = None
        self._zones = [zone for zone in sorted(root.glob("*-rapl:*")) if zone.name.count(":") == 1]
        self._last: dict[Path, int] = {}
        if not self._zones:
            self.reason = f"no energy counter in {root}"

    def read(self) -> None:
        """Add what was used since the last reading; a counter that began again at 0 is understood."""
        for zone in self._zones:
            try:
                now = int((zone / "energy_uj").read_text(encoding="ascii"))
                period = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
            except OSError as error:
                self.joules, self._zones = None, []
                self.reason = f"{error.filename} cannot be read: {error.strerror}"
                return
            used = now - self._last.get(zone, now)
            self._last[zone] = now
            self.joules = (self.joules or 0.0) + (used + period if used < 0 else used) * _MICRO


class GpuMeter:
    """Of the GPUs that nvidia-smi shows: their power, second by second, times the seconds."""

    def __init__(
        self, number: str = "", program: str = "nvidia-smi", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.joules: float | None = None
        self.reason: str | None = None
        self._clock = clock
        self._last: tuple[float, float] | None = None
        self._command = [program, "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
        self._command += [f"--id={number}"] if number else []
        if shutil.which(program) is None:
            self.reason = f"{program} is not there to say what power the GPU draws"

    def read(self) -> None:
        """Add the mean of this power and the last for the time between."""
        if self.reason is not None:
            return
        done = subprocess.run(self._command, capture_output=True, text=True, check=False)
        try:
            now = (self._clock(), sum(float(line) for line in done.stdout.split()))
        except ValueError:
            now = None
        if now is None or done.returncode != 0 or not done.stdout.strip():
            said = (done.stdout + done.stderr).strip()[:100]
            self.joules, self.reason = None, f"{self._command[0]} does not say what power the GPU draws: {said!r}"
            return
        time_before, watts_before = self._last or now
        self.joules = (self.joules or 0.0) + (now[0] - time_before) * (now[1] + watts_before) / 2
        self._last = now


def meter(device: str) -> Meter:
    """What counts the energy of a device, `cpu` or `cuda[:n]`."""
    kind, _, number = device.partition(":")
    return PackageMeter() if kind == "cpu" else GpuMeter(number)


@contextmanager
def metered(counter: Meter, seconds: float = SECONDS_BETWEEN) -> Iterator[Meter]:
    """The joules of a block, complete at its end."""
    with ticking(counter.read, seconds):
        yield counter
