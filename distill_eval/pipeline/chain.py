"""Progressive distillation: teacher to assistant to student; the sizes on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from distill_eval.distill.config import DistillConfig
from distill_eval.errors import require
from distill_eval.recipe import KNOWN, Recipe, resolve
from distill_eval.record import to_jsonable
from distill_eval.schema.model import ModelRef


def chain_recipe(config: DistillConfig) -> Recipe:
    """The recipe that `distill-eval distill --chain` stands for.

    Raises:
        UsageError: options that do not go with a chain.
    """
    said = to_jsonable(config)
    table = {
        "teacher": config.teacher[0],
        "output_dir": str(config.output_dir),
        "chain": list(config.chain),
        "baseline": config.baseline,
        "data": {name: value for name, value in said["data"].items() if value is not None},
        "distill": {name: value for name, value in said.items() if name not in KNOWN["distill"]},
    }
    return resolve(table, source="distill --chain")


def planned_sizes(recipe: Recipe) -> tuple[int | None, ...]:
    """Parameters of each student that the recipe makes, from the teacher's config alone.

    `None` where only layers go from an architecture that is not known.

    Raises:
        UsageError: a size is not below the one before it, or no student has it.
        ModelError: the teacher cannot be had, or cannot be cut.
    """
    if recipe.prepare is None:
        return ()
    from distill_eval.student.count import on_meta
    from distill_eval.student.fresh import resized
    from distill_eval.student.plan import make_plan
    from distill_eval.student.teacher import locate, read_teacher

    ref = ModelRef.parse(recipe.teacher)
    teacher = read_teacher(ref, locate(ref))
    if recipe.chain:
        _require_falling(recipe.chain, on_meta(teacher.config, teacher.kind).num_parameters())
    found = []
    for link in recipe.links:
        target = link.size or recipe.prepare.target_params
        plan = make_plan(replace(recipe.prepare, target_params=target), teacher)
        if plan.after is None:
            found.append(plan.num_parameters)
            continue
        cut = resized(teacher.config, teacher.architecture, plan.after)
        found.append(plan.num_parameters or on_meta(cut, teacher.kind).num_parameters())
        if recipe.chain:
            teacher = teacher._replace(config=cut)
    return tuple(found)


def _require_falling(chain: Sequence[str], num_parameters: int) -> None:
    """Refuse sizes that do not fall from the teacher's to the student's."""
    from distill_eval.student.sizes import parse_size, show_size

    above, whose = num_parameters, f"the teacher's {show_size(num_parameters)}"
    for size in chain:
        wanted = parse_size(size)
        require(
            wanted < above,
            f"chain {','.join(chain)}: {size} is not below {whose}. Sizes fall from the teacher's "
            f"{show_size(num_parameters)} to the student's, assistants first, e.g. 110M,80M",
        )
        above, whose = wanted, size
