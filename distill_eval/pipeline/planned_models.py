"""The models of a plan: the teacher by its config alone, the students that it may have, and who teaches whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.errors import ModelError

if TYPE_CHECKING:
    from distill_eval.plan.calibrate import Side
    from distill_eval.plan.config import PlanConfig
    from distill_eval.plan.pair import Pair
    from distill_eval.plan.students import Chain
    from distill_eval.schema.plan import ModelSizes, StudentPlan
    from distill_eval.student.teacher import Teacher

Say = Callable[[str], None]
"""Takes a line for the reader."""


class Models(NamedTuple):
    """Everybody in a plan."""

    teacher: Teacher
    sizes: ModelSizes
    """Of the teacher."""
    students: tuple[StudentPlan, ...]
    """The proposed one first."""
    chain: Chain | None
    """Of the method `progressive`."""

    @property
    def assistant(self) -> StudentPlan | None:
        """Who stands between teacher and student."""
        return None if self.chain is None else self.chain.assistant

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The trainings, one after the other."""
        from distill_eval.plan.pair import taught

        between = [] if self.assistant is None else [self.assistant.sizes]
        return taught([self.sizes, *between, self.students[0].sizes])


def read_models(config: PlanConfig, say: Say) -> Models:
    """Find the teacher, and propose its students.

    Raises:
        ModelError: the teacher's config cannot be had, or it cannot be planned.
        UsageError: no student has such a size.
    """
    from distill_eval.plan.advice import assistant
    from distill_eval.plan.fitted import check_dense
    from distill_eval.plan.sizes import model_sizes
    from distill_eval.plan.students import chain, find_target, propose

    teacher, source = read(config.teacher, say)
    check_dense(config.teacher, teacher.config)
    sizes = model_sizes(teacher.config, teacher.kind, name=config.teacher, source=source)
    target = find_target(config, sizes.parts.total)
    if config.method != "progressive":
        return Models(teacher, sizes, propose(teacher, target), None)
    found = chain(teacher, round(assistant(sizes.parts.total, target)), target)
    return Models(teacher, sizes, (found.student,), found)


def sides(models: Models) -> tuple[Side, Side]:
    """Who teaches the student, and the student, with their configs.

    Raises:
        ModelError: the student cannot be built from the sizes alone.
    """
    from distill_eval.plan.calibrate import Side
    from distill_eval.student.fresh import resized

    teacher, student = models.pairs[-1]
    if models.chain is not None:
        return Side(models.chain.assistant_config, teacher), Side(models.chain.student_config, student)
    theirs, architecture = models.teacher.config, models.teacher.architecture
    assert student.shape is not None  # it has the teacher's architecture
    return Side(theirs, teacher), Side(resized(theirs, architecture, student.shape), student)


def read(name: str, say: Say) -> tuple[Teacher, str]:
    """The teacher by its config alone, and where that comes from.

    Raises:
        ModelError: there is none to be had, or it is of a kind that cannot be planned.
        UsageError: a revision of a folder was asked for.
    """
    from distill_eval import checkpoint
    from distill_eval.plan.published import PUBLISHED, published
    from distill_eval.schema.model import ModelRef
    from distill_eval.student.teacher import describe, read_teacher

    ref = ModelRef.parse(name)
    try:
        folder = checkpoint.locate(ref, ("config.json",), role="teacher")
    except ModelError as error:
        is_path = ref.name.startswith((".", "/", "~")) or ref.name.count("/") > 1
        found = None if is_path else published(name)
        if found is None:
            raise ModelError(f"{error}. Configs that come with the package: {', '.join(PUBLISHED)}") from error
        config, address = found
        say(f"{error}; planned from the config that comes with the package, as published at {address}")
        return describe(ref, config), f"the copy in this package of {address}"
    commit = checkpoint.hub_commit(folder)
    return read_teacher(ref, folder), f"{ref.name} at {commit[:12]}" if commit else f"the folder {folder}"
