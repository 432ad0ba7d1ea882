"""What was planned beside what was measured: how wrong a plan was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from distill_eval.report import escape, numbers
from distill_eval.report.plan_values import shown, spread, value_of
from distill_eval.report.sections import with_notes
from distill_eval.report.table import Cell, Column, grid
from distill_eval.schema.plan import Check

SAID = (
    "The plan that was made before the run, figure by figure. Error: planned / measured - 1. Inside: whether the "
    "spread of an estimate holds what was measured."
)


def section(checks: Mapping[str, Sequence[Check]]) -> list[str]:
    """A table for each plan; nothing where there is none."""
    parts = []
    for where, found in checks.items():
        head = f"From {escape.name(where)}:\n\n" if len(checks) > 1 else ""
        parts.append(head + with_notes(grid(columns(found, escape.text))))
    return ["## Planned and measured\n\n" + "\n\n".join([SAID, *parts])] if parts else []


def columns(checks: Sequence[Check], show: Callable[[str], str]) -> list[Column]:
    """The columns of one plan's table.

    Args:
        checks: Figures with their measurements.
        show: Makes text harmless.
    """
    return [
        Column("what", tuple(Cell(show(one.what)) for one in checks), numeric=False),
        Column("planned", tuple(_planned(one) for one in checks)),
        Column("measured", tuple(_measured(one) for one in checks)),
        Column("error", tuple(Cell(numbers.optional(one.error, _error)) for one in checks)),
        Column("inside", tuple(Cell(_INSIDE[one.inside]) for one in checks), numeric=False),
    ]


_INSIDE = {True: "yes", False: "no", None: numbers.UNDEFINED}


def _planned(one: Check) -> Cell:
    text = " ".join(filter(None, (shown(one.planned), spread(one.planned))))
    return Cell(text, (f"{one.planned.basis}: {one.planned.source}",))


def _measured(one: Check) -> Cell:
    return Cell(numbers.optional(one.measured, lambda value: value_of(value, one.planned.unit)), (one.source,))


def _error(share: float) -> str:
    return f"{numbers.fixed(100 * share, 1, sign=True)} %"
