"""How long a step took before: the same options on the same content, in this run or in one beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from distill_eval.errors import ArtifactError
from distill_eval.pipeline.inputs import same
from distill_eval.pipeline.plan import Step
from distill_eval.pipeline.state import MANIFEST
from distill_eval.record import from_json
from distill_eval.schema.recipe import RecipeRun, StageRun


class Took(NamedTuple):
    """A measurement of an earlier run."""

    seconds: float
    manifest: Path
    """The run.json that says so."""


class Earlier:
    """What runs have recorded: of the folder itself, and of those beside it."""

    def __init__(self, root: Path, hardware: str) -> None:
        """Read the records, the newest first; what cannot be read says nothing.

        Args:
            root: The run's folder.
            hardware: Of this machine; what another took is no measure.
        """
        found = {root / MANIFEST, *root.absolute().parent.glob(f"*/{MANIFEST}")}
        paths = {path.resolve(): path for path in sorted(found) if path.is_file()}
        newest = sorted(paths.values(), key=lambda path: -path.stat().st_mtime_ns)
        self._runs = [(path, run) for path in newest if (run := _read(path))]
        self._hardware = hardware

    def took(self, step: Step, steps: Iterable[Step], inputs: Mapping[str, Mapping[str, str | None]]) -> Took | None:
        """The newest measurement of a step; `None` without one.

        Args:
            step: Of the recipe.
            steps: All of them.
            inputs: What each reads, as it is now, by the step's name.
        """
        by_name = {other.name: other for other in steps}
        for path, run in self._runs:
            stages = {stage.name: stage for stage in run.stages}
            found = stages.get(step.name)
            seconds = self._measured(found) if found else None
            if seconds is not None and _alike(step, by_name, stages, inputs):
                return Took(seconds, path)
        return None

    def _measured(self, stage: StageRun) -> float | None:
        """What the whole stage took on this hardware; `None` where an earlier attempt had done a part of it."""
        return stage.seconds if stage.num_attempts == 1 and stage.hardware == self._hardware else None


def _read(path: Path) -> RecipeRun | None:
    try:
        return from_json(RecipeRun, path.read_bytes(), source=str(path))
    except ArtifactError:
        return None


def _alike(
    step: Step,
    steps: Mapping[str, Step],
    stages: Mapping[str, StageRun],
    inputs: Mapping[str, Mapping[str, str | None]],
) -> bool:
    """Whether a step was measured: its options, what is there of what it reads, and the steps that make the rest."""
    found = stages.get(step.name)
    if found is None or found.status != "done" or found.config_digest != step.config_digest:
        return False
    if step.stage == "report":  # it reads whatever there is by then
        return True
    now = {name: content for name, content in inputs[step.name].items() if content is not None}
    if now.keys() - found.input_digests.keys() or not same({name: found.input_digests[name] for name in now}, now):
        return False
    return all(_alike(steps[name], steps, stages, inputs) for name in step.needs)
