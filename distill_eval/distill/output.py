"""Whose run an output folder holds: refused when it is another, before any long work."""

from __future__ import annotations

import json
import os
from typing import Any

from distill_eval.distill import settings
from distill_eval.distill.cached_signal import read_manifest
from distill_eval.distill.config import DistillConfig
from distill_eval.distill.processes import Processes
from distill_eval.distill.ready import Ready
from distill_eval.errors import ArtifactError, boundary, require
from distill_eval.record import to_jsonable
from distill_eval.store import write_atomic

ARTIFACT = "distill.json"
CONFIG = "distill-config.json"
"""Written before training, for the check that a resumed run is the same one."""
CONTENTS = "contents"
"""In it, digests of what the options name."""


def check_output(config: DistillConfig, options: dict[str, Any]) -> None:
    """Refuse a folder with another run, before any long work."""
    output = config.output_dir
    require(not output.exists() or output.is_dir(), f"--output-dir {output} is a file; name a folder")
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    require(there.is_dir() and os.access(there, os.W_OK), f"--output-dir {output}: {there} cannot be written in")
    if not output.exists():
        return
    require(
        not (output / ARTIFACT).exists(),
        f"--output-dir {output} holds a finished run ({ARTIFACT}): name another folder, or remove it",
    )
    if not (output / CONFIG).is_file():
        require(not any(output.iterdir()), f"--output-dir {output} is not empty: name another folder")
        return
    require(
        config.resume, f"--output-dir {output} holds a run that is not finished: add --resume, or name another folder"
    )
    with boundary(ArtifactError, f"cannot read {output / CONFIG}"):
        before = json.loads((output / CONFIG).read_text(encoding="utf-8"))
        before.pop(CONTENTS)
    apart = settings.differences(before, options)
    require(
        not apart,
        f"--resume: the run in {output} has other options: {'; '.join(apart)}. Give the same, or name another",
    )


def begin(config: DistillConfig, options: dict[str, Any], ready: Ready, processes: Processes) -> None:
    """Note what the run is, or see that a resumed one reads what it began with."""
    path = config.output_dir / CONFIG
    cached = read_manifest(config.cached_teacher) if config.cached_teacher is not None else None
    contents = {
        "--data": ready.course.facts().digest,
        "--cached-teacher": to_jsonable(cached.key) if cached is not None else None,
    }
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))[CONTENTS]
        apart = [flag for flag, content in contents.items() if before[flag] != content]
        require(
            not apart,
            f"--resume: the content of {' and '.join(apart)} is not what the run in {config.output_dir} began with. "
            "Bring it back, or name another folder",
        )
    processes.wait()  # until all have looked at the folder
    if processes.is_main:
        write_atomic(path, json.dumps(options | {CONTENTS: contents}, indent=2) + "\n")
