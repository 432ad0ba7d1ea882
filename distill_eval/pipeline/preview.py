"""The plan of a run in lines: what would be done, how long, and with how much memory and disk."""

from __future__ import annotations

from collections.abc import Mapping

from distill_eval.pipeline.chain import planned_sizes
from distill_eval.pipeline.earlier import Took
from distill_eval.pipeline.estimate import disk, memory, sizes
from distill_eval.pipeline.job import Job
from distill_eval.pipeline.stages import Tools
from distill_eval.pipeline.state import State
from distill_eval.recipe import Recipe
from distill_eval.record import changed

_TOLD = {"skip": "done, skipped", "go on": "goes on", "begin": "to do"}
_NOT_MEASURED = "- (no run of these options on this content and hardware is recorded here)"


def preview(recipe: Recipe, *, tools: Tools) -> list[str]:
    """The plan as lines: every step, whether it would be skipped, what it takes, and its options that are not defaults.

    Raises:
        DistillEvalError: as `run`, before any work.
    """
    planned = planned_sizes(recipe)
    job = Job(recipe, "", tools)
    (states, took), known, prepared = job.outlook(), sizes(recipe, planned), iter(planned)
    lines = list[str]()
    for place, step in enumerate(job.steps, start=1):
        state = states[step.name]
        why = f" ({state.reason})" if state.reason and job.stages[step.name].num_attempts else ""
        lines.append(f"{place}. {step.name}: {_TOLD[state.todo]}{why} -> {step.folder}")
        size = next(prepared) if step.stage == "prepare" else None
        lines += [f"     {size:,} parameters"] if size else []
        if state.todo != "skip":
            lines += [f"     time: {_time(took[step.name])}"]
            lines += [f"     memory: {memory(step, known)}", f"     disk: {disk(step, known)}"]
        lines += [
            f"     {name} = {_shown(value)}" for name, value in changed(step.config).items() if name != "output_dir"
        ]
    return [*lines, *_in_all(states, took)]


def _time(took: Took | None) -> str:
    return _NOT_MEASURED if took is None else f"about {took.seconds:.0f} s, as {took.manifest} measured"


def _in_all(states: Mapping[str, State], took: Mapping[str, Took | None]) -> list[str]:
    """The sum of what is known, with how much that is of all."""
    todo = [name for name, state in states.items() if state.todo != "skip"]
    known = [found.seconds for name in todo if (found := took[name]) is not None]
    if not known:
        return []
    rest = "" if len(known) == len(todo) else f", and {len(todo) - len(known)} that were not measured before"
    return [f"     In all about {sum(known):.0f} s for {len(known)} stages{rest}"]


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
