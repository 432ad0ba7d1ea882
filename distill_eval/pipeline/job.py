"""One run of a recipe: its steps in order, each skipped while nothing that it depends on has changed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from distill_eval.device import choose_device
from distill_eval.errors import DistillEvalError, StageError
from distill_eval.pipeline.earlier import Earlier, Took
from distill_eval.pipeline.inputs import files_of, input_digests
from distill_eval.pipeline.plan import Step, steps
from distill_eval.pipeline.stages import Place, Tools, check_ready, run_step
from distill_eval.pipeline.state import MANIFEST, RECIPE, State, look, read_run, set_aside
from distill_eval.pipeline.training import CurvesConfig, curves
from distill_eval.pipeline.without import without
from distill_eval.provenance import collect, hardware
from distill_eval.recipe import Recipe
from distill_eval.record import to_json
from distill_eval.schema.export import Kind
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Provenance
from distill_eval.store import digest, write_atomic
from distill_eval.store.files import OUTPUT_OPTION, explained


class Outlook(NamedTuple):
    """What a run will do, by the names of its steps."""

    states: dict[str, State]
    took: dict[str, Took | None]
    """As an earlier run of the same measured it; `None`: none did."""

    def seconds(self, names: Sequence[str]) -> float | None:
        """Of these steps, as far as they are not skipped; `None` where one was not measured before."""
        found = [self.took[name] for name in names if self.states[name].todo != "skip"]
        known = [took.seconds for took in found if took is not None]
        return sum(known) if len(known) == len(found) else None


class Job:
    """One run of a recipe."""

    def __init__(self, recipe: Recipe, source: str, tools: Tools) -> None:
        self.recipe, self.source, self.tools = recipe, source, tools
        self.steps = steps(recipe)
        self.stages: dict[str, StageRun] = {}
        self.failed: list[tuple[Step, DistillEvalError]] = []
        self.smaller: list[Step] = []  # run without a variant that is not there
        self.provenance: Provenance | None = None
        self.began = time.monotonic()

    def inputs(self, step: Step) -> dict[str, str | None]:
        """What a step reads, as it is now; a report reads whatever the others wrote."""
        if step.stage == "report":
            return {name: _outcome(stage) for name, stage in self.stages.items() if name != step.name}
        made = {str(other.folder) for other in self.steps}
        return input_digests(step.config, made, self.tools.store.file_digest)

    def outlook(self) -> Outlook:
        """What is to be done for each step as things are, and how long each took before; nothing is written.

        Raises:
            ModelError: a model cannot be had.
            DataError: data cannot be had.
            UsageError: a package is missing, or what CI is to be told has nowhere to go.
        """
        self._begin()
        inputs = {step.name: self.inputs(step) for step in self.steps}
        earlier = Earlier(self.recipe.output_dir, hardware(choose_device("auto")))
        took = {step.name: earlier.took(step, self.steps, inputs) for step in self.steps}
        states = self._states(inputs)
        known: Kind | None = "classifier" if self.recipe.is_classifier else "causal"
        for step in self.steps:
            if states[step.name].todo != "skip":
                check_ready(step, known if self.recipe.distill is not None else None)
        return Outlook(states, took)

    def _states(self, inputs: Mapping[str, dict[str, str | None]]) -> dict[str, State]:
        """A step is done again behind one that is."""
        found: dict[str, State] = {}
        for step in self.steps:
            state = look(step, self.stages[step.name], inputs[step.name], self.tools.store.file_digest)
            needs = found if step.stage == "report" else step.needs
            again = [name for name in needs if found[name].todo != "skip"]
            if again and state.todo != "begin":
                state = State("begin", f"{', '.join(again)} {'comes' if len(again) == 1 else 'come'} before it")
            found[step.name] = state
        return found

    def _begin(self) -> RecipeRun | None:
        """What is recorded of the steps, those of a recipe with other steps too; the record as it is."""
        before = read_run(self.recipe.output_dir)
        known = {stage.name: stage for stage in before.stages} if before else {}
        for step in self.steps:
            self.stages[step.name] = known.pop(step.name) if step.name in known else self._not_run(step)
        self.stages |= known
        return before

    def run(self, outlook: Outlook) -> RecipeRun:
        """Run every step that is not done and whose needs are; measurements go on without a lost variant."""
        before = self._begin()
        for place, step in enumerate(self.steps, start=1):
            missing = self._missing(step)
            title = f"[{place}/{len(self.steps)}] {step.name}"
            left = without(step, [other for other in self.steps if other.name in missing])
            if left is None:
                self.tools.say(f"{title}: not run, it needs {', '.join(missing)}")
                self._record(step, status="not run")
                continue
            if missing:
                self.tools.say(f"{title}: without what is not there: {', '.join(missing)}")
                self.smaller.append(step)
            rest = outlook.seconds([other.name for other in self.steps[place - 1 :]])
            self.tools.stage(Place(place, len(self.steps), step.name, rest))
            self._step(left, title, "" if rest is None else f" (about {rest:.0f} s to the end of the run)")
        if self.failed:
            self._stop()
        self._draw()
        if before and self.provenance is None:
            return before
        return self._write()

    def _missing(self, step: Step) -> list[str]:
        """What a step waits for in vain; a report takes what there is, if there is anything."""
        if step.stage == "report":
            others = [name for name in self.stages if name != step.name]
            return [] if any(self.stages[name].status == "done" for name in others) else others
        return [name for name in step.needs if self.stages[name].status != "done"]

    def _draw(self) -> None:
        """The student's curves beside its baseline's."""
        last = self.recipe.links[-1]
        trained = [step for step in self.steps if step.folder in (last.student, last.baseline)]
        if len(trained) == 2 and all(self.stages[step.name].status == "done" for step in trained):
            curves(CurvesConfig(runs=(last.student, last.baseline), output_dir=self.recipe.output_dir))

    def _step(self, step: Step, title: str, left: str) -> None:
        say, inputs = self.tools.say, self.inputs(step)
        state = look(step, self.stages[step.name], inputs, self.tools.store.file_digest)
        if state.todo == "skip":
            say(f"{title}: done before, skipped")
            return
        say(f"{title}: {'going on' if state.todo == 'go on' else 'begun'} -> {step.folder}{left}")
        if state.todo == "begin" and step.stage != "report":  # which is made again in seconds
            with explained(step.folder, OUTPUT_OPTION, verb="rename"):
                aside = set_aside(step.folder)
            if aside:
                say(f"  {state.reason or 'it is not of this run'}; what was there is kept in {aside}")
        if state.todo == "begin":
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
            files, seconds = files_of(step, self.tools.store.file_digest), time.monotonic() - began
            on = hardware(choose_device("auto"))
            self._record(step, status="done", files=files, seconds=round(seconds, 3), hardware=on)
            say(f"{title}: done in {seconds:.0f} s, {time.monotonic() - self.began:.0f} s after the beginning")
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
        if self.smaller:
            after += f" Run without it: {', '.join(step.name for step in self.smaller)}."
        others = "".join(f" {other.name} failed too: {why}." for other, why in self.failed[1:])
        failure = StageError(
            f"{step.name} failed: {error}.{others}{after} What was finished is kept in "
            f"{self.recipe.output_dir}: once the cause is mended, the same command goes on from there"
        )
        failure.exit_code = error.exit_code
        raise failure from error


def _outcome(stage: StageRun) -> str:
    """What a stage left, for the report."""
    return f"sha256:{digest(stage.files)}" if stage.status == "done" else stage.status
