"""How far an evaluation or a run of several stages is, with an estimate of the time left, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SECONDS_BETWEEN_LINES = 30.0
"""Where standard error is not a terminal: a plain line now and then, not a bar."""


class ConsoleProgress:
    """A bar on a terminal; elsewhere a line per task, and one every half minute."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._work: dict[str, int] = {}
        self._done: dict[tuple[str, str], float] = {}
        self._resumed: dict[tuple[str, str], float] = {}
        self._num_models = 1
        self._began = self._last_line = clock()
        self._row = self._bar.add_task("evaluating", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self._console.print(text, markup=False, highlight=False)

    def start(self, work: dict[str, int], num_models: int) -> None:
        """The work of each task, in any one unit, for each of the `num_models` models that are not in the cache."""
        if not self._work:
            # What came before, downloads for instance, says nothing about the scoring.
            self._began = self._last_line = self._clock()
        self._work, self._num_models = dict(work), num_models
        self._bar.update(self._row, total=self._total())

    def update(self, model: str, task: str, fraction: float) -> None:
        """One model has done this fraction of one task; the first call says what was there already."""
        self._resumed.setdefault((model, task), fraction)
        finished = fraction >= 1.0 and self._done.get((model, task), 0.0) < 1.0
        self._done[model, task] = fraction
        done = self._sum(self._done)
        short = model.rstrip("/").rpartition("/")[2]
        self._bar.update(self._row, completed=done, description=f"{short}: {task}")
        now = self._clock()
        if not self._console.is_terminal and (finished or now - self._last_line >= SECONDS_BETWEEN_LINES):
            self._last_line = now
            new, rest = done - self._sum(self._resumed), self._total() - done
            left = f", about {(now - self._began) * rest / new:.0f} s left" if new > 0 else ""
            share = f"{done / self._total():.0%} of all"
            print(f"{short}: {task} {fraction:.0%} ({share}{left})", file=sys.stderr, flush=True)

    def _sum(self, fractions: dict[tuple[str, str], float]) -> float:
        return sum(self._work.get(name, 0) * part for (_, name), part in fractions.items())

    def _total(self) -> int:
        return max(1, sum(self._work.values()) * self._num_models)


class _Left(ProgressColumn):
    """Until a row's `ends`, on the clock of its task; nothing where that is not known."""

    def render(self, task: Task) -> Text:
        ends = task.fields["ends"]
        return Text("" if ends is None else f"about {timedelta(seconds=max(0, round(ends - task.get_time())))} left")


class RunProgress:
    """Which stage of a run is at work, on a terminal; elsewhere the run's own lines say it."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console or Console(stderr=True)
        """Shared with the bars of the stages, which stand below this one's row."""
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            _Left(),
            console=self.console,
            get_time=clock,
            refresh_per_second=1,  # a benchmark's client runs beside it
            disable=not self.console.is_terminal,
        )
        self._row = self._bar.add_task("", total=None, ends=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()

    def stage(self, number: int, num_stages: int, name: str, seconds_left: float | None) -> None:
        """A stage begins.

        Args:
            number: Its place, from 1.
            num_stages: Of the run.
            name: For the row.
            seconds_left: Until the end of the run; `None` where that is not known.
        """
        ends = None if seconds_left is None else self._bar.get_time() + seconds_left
        self._bar.update(
            self._row, description=f"[{number}/{num_stages}] {name}", completed=number - 1, total=num_stages, ends=ends
        )
