"""Run a recipe: its steps in order, each skipped while nothing that it depends on has changed."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from distill_eval.device import choose_device
from distill_eval.errors import DistillEvalError, StageError, require
from distill_eval.pipeline.chain import planned_sizes
from distill_eval.pipeline.inputs import files_of, input_digests
from distill_eval.pipeline.plan import Step, steps
from distill_eval.pipeline.stages import Tools, run_step
from distill_eval.pipeline.state import MANIFEST, RECIPE, State, look, read_run, set_aside
from distill_eval.pipeline.training import CurvesConfig, curves
from distill_eval.provenance import collect
from distill_eval.recipe import Recipe
from distill_eval.record import changed, to_json
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Provenance
from distill_eval.store import write_atomic
from distill_eval.store.files import OUTPUT_OPTION, alone, explained


def run(recipe: Recipe, *, source: str, tools: Tools) -> RecipeRun:
    """Run what is not done yet, and write `run.json` and `recipe.toml` to the output folder.

    A step that fails stops those that need it and no others.

    Args:
        recipe: What to do.
        source: The recipe's name, for the record.
        tools: What the stages need.

    Raises:
        UsageError: sizes that are not possible, or an output folder that holds something else; nothing is written.
        ModelError: a model cannot be had.
        DataError: data cannot be had.
        StageError: a step failed; what was finished is kept and recorded.
        StoreError: the output folder cannot be written, or another process has it.
    """
    root = recipe.output_dir
    require(
        os.environ.get("WORLD_SIZE", "1") == "1",
        "a recipe is run by one process. Under accelerate launch, type the stages' own verbs: prepare, distill ...",
    )
    read_run(root)
    planned_sizes(recipe)
    job = _Job(recipe, source, tools)
    for step in job.steps:
        job.inputs(step)  # whatever is missing is said before any work
    with alone(root):
        return job.run()


def preview(recipe: Recipe, *, tools: Tools) -> list[str]:
    """The plan as lines: every step, its options that are not defaults, and whether it would be skipped.

    Raises:
        DistillEvalError: as `run`, before any work.
    """
    sizes = planned_sizes(recipe)
    job = _Job(recipe, "", tools)
    before = read_run(recipe.output_dir)
    known = {stage.name: stage for stage in before.stages} if before else {}
    lines, again, prepared = [], set[str](), iter(sizes)
    for place, step in enumerate(job.steps, start=1):
        state = look(step, known.get(step.name), job.inputs(step), tools.store.file_digest)
        if again.intersection(step.needs):
            state = State("begin", f"{', '.join(sorted(again.intersection(step.needs)))} comes before it")
        if state.todo != "skip":
            again.add(step.name)
        told = {"skip": "done, skipped", "go on": "goes on", "begin": "to do"}[state.todo]
        why = f" ({state.reason})" if state.reason and step.name in known else ""
        lines.append(f"{place}. {step.name}: {told}{why} -> {step.folder}")
        size = next(prepared) if step.stage == "prepare" else None
        lines += [f"     {size:,} parameters"] if size else []
        lines += [
            f"     {name} = {_shown(value)}" for name, value in changed(step.config).items() if name != "output_dir"
        ]
    return lines


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


class _Job:
    """One run of a recipe."""

    def __init__(self, recipe: Recipe, source: str, tools: Tools) -> None:
        self.recipe, self.source, self.tools = recipe, source, tools
        self.steps = steps(recipe)
        self.stages: dict[str, StageRun] = {}
        self.failed: list[tuple[Step, DistillEvalError]] = []
        self.provenance: Provenance | None = None

    def inputs(self, step: Step) -> dict[str, str | None]:
        """What a step reads, as it is now."""
        made = {str(other.folder) for other in self.steps}
        return input_digests(step.config, made, self.tools.store.file_digest)

    def run(self) -> RecipeRun:
        """Run every step that is not done and whose needs are."""
        before = read_run(self.recipe.output_dir)
        known = {stage.name: stage for stage in before.stages} if before else {}
        for step in self.steps:
            self.stages[step.name] = known.pop(step.name) if step.name in known else self._not_run(step)
        self.stages |= known  # of a recipe with other steps: still there
        for place, step in enumerate(self.steps, start=1):
            missing = [name for name in step.needs if self.stages[name].status != "done"]
            title = f"[{place}/{len(self.steps)}] {step.name}"
            if missing:
                self.tools.say(f"{title}: not run, it needs {', '.join(missing)}")
                self._record(step, status="not run")
            else:
                self._step(step, title)
        if self.failed:
            self._stop()
        self._draw()
        if before and self.provenance is None:
            return before
        return self._write()

    def _draw(self) -> None:
        """The student's curves beside its baseline's."""
        last = self.recipe.links[-1]
        trained = [step for step in self.steps if step.folder in (last.student, last.baseline)]
        if len(trained) == 2 and all(self.stages[step.name].status == "done" for step in trained):
            curves(CurvesConfig(runs=(last.student, last.baseline), output_dir=self.recipe.output_dir))

    def _step(self, step: Step, title: str) -> None:
        say, inputs = self.tools.say, self.inputs(step)
        state = look(step, self.stages[step.name], inputs, self.tools.store.file_digest)
        if state.todo == "skip":
            say(f"{title}: done before, skipped")
            return
        say(f"{title}: {'going on' if state.todo == 'go on' else 'begun'} -> {step.folder}")
        if state.todo == "begin":
            with explained(step.folder, OUTPUT_OPTION, verb="rename"):
                aside = set_aside(step.folder)
            if aside:
                say(f"  {state.reason or 'it is not of this run'}; what was there is kept in {aside}")
            self.stages[step.name] = self._not_run(step)
        attempts = self.stages[step.name].num_attempts + 1
        self._record(step, status="unfinished", input_digests=inputs, num_attempts=attempts, error=None)
        self._write()
        began = time.monotonic()
        try:
            run_step(step, self.tools._replace(say=lambda line: say(f"  {line}")))
        except DistillEvalError as error:
            self.failed.append((step, error))
            self._record(step, status="failed", error=str(error))
            say(f"{title}: failed: {error}")
        else:
            files = files_of(step, self.tools.store.file_digest)
            self._record(step, status="done", files=files, seconds=round(time.monotonic() - began, 3))
        self._write()

    def _not_run(self, step: Step) -> StageRun:
        return StageRun(
            name=step.name,
            stage=step.stage,
            status="not run",
            config_digest=step.config_digest,
            input_digests={},
            folder=step.folder.relative_to(self.recipe.output_dir).as_posix(),
            files={},
            seconds=None,
            num_attempts=0,
            error=None,
        )

    def _record(self, step: Step, **facts: object) -> None:
        self.stages[step.name] = replace(self.stages[step.name], **facts)  # type: ignore[arg-type]

    def _write(self) -> RecipeRun:
        self.provenance = self.provenance or collect(self.tools.argv, choose_device("auto"))
        text, stages = self.recipe.to_toml(), tuple(self.stages.values())
        done = RecipeRun(source=self.source, recipe=text, stages=stages, provenance=self.provenance)
        write_atomic(self.recipe.output_dir / RECIPE, text)
        write_atomic(self.recipe.output_dir / MANIFEST, to_json(done))
        return done

    def _stop(self) -> None:
        """Say what failed, what that stopped, and how to go on."""
        step, error = self.failed[0]
        stopped = [name for name, stage in self.stages.items() if stage.status == "not run"]
        after = f" Not run: {', '.join(stopped)}." if stopped else ""
        others = "".join(f" {other.name} failed too: {why}." for other, why in self.failed[1:])
        failure = StageError(
            f"{step.name} failed: {error}.{others}{after} What was finished is kept in "
            f"{self.recipe.output_dir}: once the cause is mended, the same command goes on from there"
        )
        failure.exit_code = error.exit_code
        raise failure from error
