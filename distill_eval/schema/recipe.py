"""A recipe that was run: what each stage depended on and left. The content of `run.json`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from distill_eval.record import record
from distill_eval.schema.retention import Provenance

SCHEMA = "distill-eval/run"
SCHEMA_VERSION = 1

_LINK = re.compile(r"\d+-(\d+(?:\.\d+)?[KMBkmb])")

Stage = Literal[
    "plan", "prepare", "cache-teacher", "distill", "quantize", "export", "compare", "fidelity", "bench", "report"
]
Status = Literal["done", "failed", "unfinished", "not run"]


class Link(NamedTuple):
    """The folders of one student: a recipe has one, a chain one for each of its sizes."""

    folder: Path
    size: str | None
    """Parameters asked for; `None` where the options of `prepare` say it."""

    @property
    def prepared(self) -> Path:
        """The student before training."""
        return self.folder / "prepared"

    @property
    def teacher_cache(self) -> Path:
        """What its teacher said."""
        return self.folder / "teacher-cache"

    @property
    def student(self) -> Path:
        """The trained student."""
        return self.folder / "student"

    @property
    def baseline(self) -> Path:
        """The student that was trained without a teacher."""
        return self.folder / "baseline"


def links(output_dir: Path, chain: tuple[str, ...]) -> tuple[Link, ...]:
    """Where the students of a run are, in their order."""
    if not chain:
        return (Link(output_dir, None),)
    return tuple(Link(output_dir / f"{place}-{size}", size) for place, size in enumerate(chain, start=1))


def link_size(folder: str) -> str | None:
    """The size in the name that `links` gives a student's folder in a chain; `None` for another name."""
    found = _LINK.fullmatch(folder)
    return found[1] if found else None


@record
class StageRun:
    """One stage of a recipe."""

    name: str
    """Of the step: the stage, `baseline` for the training without a teacher, with the link in front in a chain; of a
    variant the stage and the variant's name."""
    stage: Stage
    """The verb that does the same."""
    status: Status
    """`done`: finished, and skipped while nothing that it depends on changes. `failed`: see `error`. `unfinished`:
    begun; it goes on from there. `not run`: it comes later, or needs a stage that failed."""
    config_digest: str
    """SHA-256 over its options; models, data and folders, which `input_digests` know by their content, left out."""
    input_digests: dict[str, str | None]
    """Models and data that it reads, by option: `commit` on the Hub, or SHA-256 over the files. `None`: not there yet.
    Those of a Hub that cannot be reached are known by name alone."""
    folder: str
    """What it wrote, relative to `run.json`."""
    files: dict[str, str]
    """SHA-256 of every file in it; empty until the stage is done."""
    seconds: float | None
    """Of the attempt that finished it; what attempts before it took is not in it."""
    num_attempts: int
    error: str | None
    """Why it failed."""
    hardware: str | None = None
    """That the seconds are of; `None` until the stage is done, and where an older version did it."""


@record
class RecipeRun:
    """A recipe's run; `recipe.toml` beside it, or the recipe inside of it, repeats it."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    source: str
    """The name of a shipped recipe, a file, or the command that the recipe stands for."""
    recipe: str
    """The whole recipe as TOML, every option with its value."""
    stages: tuple[StageRun, ...]
    """In their order."""
    provenance: Provenance
    """Of the last command that ran a stage."""
