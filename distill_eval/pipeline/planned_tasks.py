"""The tasks of a plan: well-known ones from the package's table, others as lm-eval loads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from distill_eval.errors import ModelError, TaskError
from distill_eval.schema.retention import DEFAULT_LEVEL

if TYPE_CHECKING:
    from distill_eval.evaluate.sizes import Tasks
    from distill_eval.plan.config import PlanConfig
    from distill_eval.plan.evaluation import Asked, Rate
    from distill_eval.schema.plan import Hardware, MissingTask, ModelSizes, TaskPlan
    from distill_eval.store import Store
    from distill_eval.student.teacher import Teacher

CPU_SHARE = 0.29
CPU_SHARE_SOURCE = (
    "what SmolLM2-135M reached of the best matrix product in bfloat16, by CPU time, on arc_easy and LAMBADA, on one "
    "core with AMX (0.290 and 0.288); two tasks of one model have no spread to speak of"
)
_MAX_LENGTH = 2048
"""Tokens that a model reads at once where its config does not say; lm-eval's own default."""


class Evaluation(NamedTuple):
    """What is known of the tasks that were asked for, in their order."""

    plans: tuple[TaskPlan, ...]
    missing: tuple[MissingTask, ...]


def evaluation(
    config: PlanConfig,
    teacher: Teacher,
    sizes: ModelSizes,
    student: ModelSizes,
    *,
    here: Callable[[], Hardware],
    store: Store,
    say: Callable[[str], None],
) -> Evaluation:
    """A plan for each task whose data can be had; this machine is measured only where there is one.

    Raises:
        TaskError: a task is unknown.
    """
    from distill_eval.plan.evaluation import task_plans

    if not config.tasks:
        return Evaluation((), ())
    asked, missing = _asked(config, teacher, sizes, store, say)
    plans = task_plans(
        asked,
        teacher=sizes,
        student=student,
        limit=config.limit,
        detect=config.detect,
        level=DEFAULT_LEVEL,
        rate=_rate(here()) if asked else None,
    )
    return Evaluation(plans, tuple(missing))


def _rate(here: Hardware) -> Rate:
    """How fast this machine scores: on a processor as measured once, on a GPU as trainings are known to be."""
    from distill_eval.plan.evaluation import Rate
    from distill_eval.plan.hardware import CPU
    from distill_eval.plan.training import GPU_HIGH, GPU_LOW, GPU_SHARE, GPU_SHARE_SOURCE

    if here.name == CPU:
        return Rate(here, CPU_SHARE, None, None, CPU_SHARE_SOURCE)
    return Rate(here, GPU_SHARE, GPU_LOW, GPU_HIGH, f"a training's share, {GPU_SHARE_SOURCE}")


def _asked(
    config: PlanConfig, teacher: Teacher, sizes: ModelSizes, store: Store, say: Callable[[str], None]
) -> tuple[list[Asked], list[MissingTask]]:
    from distill_eval.evaluate.sizes import Tasks
    from distill_eval.plan.evaluation import MEASURED, Asked, well_known

    known = {name: None if config.include_path is not None else well_known(name) for name in config.tasks}
    found: dict[str, Asked | MissingTask] = {}
    rest = [name for name, members in known.items() if members is None]
    if rest:
        tasks = Tasks(store, config.include_path)
        leaves = {name: tasks.leaves(name) for name in rest}  # an unknown name is refused before any data is loaded
        found = {name: _found(name, leaves[name], tasks, config, teacher, sizes, say) for name in rest}
    all_ = [found[name] if members is None else Asked(name, members, MEASURED) for name, members in known.items()]
    return [one for one in all_ if isinstance(one, Asked)], [one for one in all_ if not isinstance(one, Asked)]


def _found(
    name: str,
    leaves: tuple[str, ...],
    tasks: Tasks,
    config: PlanConfig,
    teacher: Teacher,
    sizes: ModelSizes,
    say: Callable[[str], None],
) -> Asked | MissingTask:
    """A group of well-known tasks, or tasks that are loaded now; one without its data does not end the others' plan."""
    from distill_eval.plan.evaluation import MEASURED, Asked, well_known
    from distill_eval.schema.plan import MissingTask

    known = {leaf: size for leaf in leaves if not tasks.is_own(leaf) and (size := well_known(leaf)) is not None}
    if len(known) == len(leaves):
        return Asked(name, {leaf: size for one in known.values() for leaf, size in one.items()}, MEASURED)
    say(f"{name}: its data is loaded, to count its documents and tokens")
    tokenizer, reason = _tokenizer(teacher)
    longest = sizes.max_length or _MAX_LENGTH
    try:
        members = tasks.sizes(leaves, limit=config.limit, tokenizer=tokenizer, max_length=longest)
    except TaskError as error:
        some = f". Of its {len(leaves)} tasks these are well known: --tasks {','.join(known)}" if known else ""
        say(f"{error}{some}. The rest is planned without {name}")
        return MissingTask(task=name, reason=f"{error}{some}")
    return Asked(name, members, "counted with the teacher's tokenizer, as lm-eval renders the task", reason)


def _tokenizer(teacher: Teacher) -> tuple[Any, str | None]:
    """The teacher's tokenizer; `None` with a reason where it cannot be had, as of a gated teacher."""
    from distill_eval.student.folder import load_tokenizer
    from distill_eval.student.teacher import locate

    try:
        return load_tokenizer(teacher.ref, locate(teacher.ref)), None
    except ModelError as error:
        return None, f"not counted, without the teacher's tokenizer: {error}"
