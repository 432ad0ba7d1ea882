"""Which label is which: those of the data, the student and its teachers brought into one order by name (pure)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from distill_eval.errors import UsageError, require

_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls the labels of a model that has no names for them."""
_RENAME = "Rename them in the id2label and label2id of its config.json"
_SHOWN = 12


class DataLabels(NamedTuple):
    """The labels of the training texts."""

    names: tuple[str, ...]
    """Integers as text."""
    kind: str
    """`declared`: a Hub data set has them in this order; `integers`, ascending; `text`, sorted."""


class ModelLabels(NamedTuple):
    """The labels of a classifier."""

    model: str
    """As the user named it."""
    names: tuple[str, ...]
    """In the order of its logits."""

    @property
    def is_named(self) -> bool:
        """Whether the names say anything."""
        return not all(_UNNAMED.fullmatch(name) for name in self.names)


class Order(NamedTuple):
    """One order for all."""

    names: tuple[str, ...]
    """The student's: label number n is `names[n]`."""
    of_data: dict[str, int]
    """The data's name -> the student's number."""
    of_teachers: tuple[tuple[int, ...], ...]
    """Per teacher, its number of each of the student's labels."""


def agree(data: DataLabels, student: ModelLabels | None, teachers: Sequence[ModelLabels]) -> Order:
    """The student's order, and where everybody else has each of its labels.

    Names are compared without regard to case. Labels that are integers are a model's label numbers. A model that calls
    its labels LABEL_0, LABEL_1 ... has them in the data's own order, where the data has one.

    Args:
        data: What is to be learnt.
        student: `None` for an encoder that has no head yet: it takes its first teacher's order, or the data's.
        teachers: All of them.

    Raises:
        UsageError: somebody has a label that somebody else lacks, or the order cannot be known.
    """
    known = [_resolve(data, teacher) for teacher in teachers]
    ours = _of_student(data, student, known)
    of_data = _find_data(data, ours, [model for model in (student, *teachers) if model is not None])
    for teacher in known:
        require(
            len(teacher.names) == len(ours.names),
            f"--teacher {teacher.model} has {len(teacher.names)} labels and {ours.model} {len(ours.names)}: "
            f"{_both(teacher, ours)}. They must be the same",
        )
    return Order(ours.names, of_data, tuple(_find_all(ours, teacher) for teacher in known))


def _resolve(data: DataLabels, model: ModelLabels) -> ModelLabels:
    """A model with names that say something.

    Raises:
        UsageError: there are none, and the data has no order that could be its.
    """
    if model.is_named:
        return model
    size = len(model.names)
    if data.kind == "integers" and all(0 <= int(name) < size for name in data.names):
        return model._replace(names=tuple(map(str, range(size))))
    if data.kind == "declared" and len(data.names) == size:
        return model._replace(names=data.names)
    raise UsageError(
        f"{model.model} calls its labels {_list(model.names)}, and the data's are {_list(data.names)}: which is which "
        f"cannot be known. {_RENAME}, or take data with the numbers 0 to {size - 1}"
    )


def _of_student(data: DataLabels, student: ModelLabels | None, teachers: Sequence[ModelLabels]) -> ModelLabels:
    """The student's labels; those of an unnamed one are its first teacher's, or the data's."""
    if student is not None and student.is_named:
        return student
    found = teachers[0] if teachers else ModelLabels("the data", data.names)
    if student is None:
        return found
    if data.kind != "text" and not teachers:
        return _resolve(data, student)
    require(
        len(student.names) == len(found.names),
        f"--student {student.model} has {len(student.names)} labels, and {found.model} has {_list(found.names)}: "
        "they must be the same. Prepare the student from its teacher, or name an encoder without a head",
    )
    return student._replace(names=found.names)


def _find_data(data: DataLabels, ours: ModelLabels, models: Sequence[ModelLabels]) -> dict[str, int]:
    found = {name: _find(name, ours.names) for name in data.names}
    if None not in found.values():
        return {name: number for name, number in found.items() if number is not None}
    size = len(ours.names)
    if data.kind == "integers" and all(0 <= int(name) < size for name in data.names):
        named = [model for model in models if model.is_named]
        require(
            len({tuple(map(_fold, model.names)) for model in named}) == 1,
            f"the data's labels are the numbers {_list(data.names)}, and the models number their labels in different "
            f"ways: {_both(*named[:2])}. Give the data the labels' names",
        )
        return {name: int(name) for name in data.names}
    strange = [name for name, number in found.items() if number is None]
    raise UsageError(
        f"the data's labels are {_list(data.names)} and those of {ours.model} {_list(ours.names)}: it does not know "
        f"{_list(strange)}. {_RENAME} if they mean the same, or take a model of this data"
    )


def _find_all(ours: ModelLabels, teacher: ModelLabels) -> tuple[int, ...]:
    found = [_find(name, teacher.names) for name in ours.names]
    numbers = tuple(number for number in found if number is not None)
    require(
        len(numbers) == len(ours.names),
        f"the labels of --teacher {teacher.model} and {ours.model} are not the same: {_both(teacher, ours)}. "
        f"{_RENAME} if they mean the same",
    )
    return numbers


def _find(name: str, names: Sequence[str]) -> int | None:
    """Where a name is: as it is written, else without regard to case if that is one place alone."""
    if name in names:
        return names.index(name)
    alike = [number for number, other in enumerate(names) if _fold(other) == _fold(name)]
    return alike[0] if len(alike) == 1 else None


def _fold(name: str) -> str:
    return name.strip().casefold()


def _both(*models: ModelLabels) -> str:
    return "; ".join(f"{model.model}: {_list(model.names)}" for model in models)


def _list(names: Sequence[str]) -> str:
    more = [f"... {len(names)} in all"] if len(names) > _SHOWN else []
    return ", ".join([*map(repr, names[:_SHOWN]), *more])
