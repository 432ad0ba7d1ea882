"""Which sizes meet a number of parameters: every combination is counted, none is guessed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from distill_eval.errors import UsageError
from distill_eval.schema.student import Shape
from distill_eval.student.architectures import Architecture
from distill_eval.student.count import Term, count, count_shape
from distill_eval.student.shape import as_options, fits, with_heads
from distill_eval.student.sizes import show_size

TOLERANCE = 0.02
"""A target is met when the student is within this share of it."""
_MISS = 10.0
"""Cost of a relative miss within the tolerance: a student 1 % nearer to the target may cost 0.1 more otherwise."""
_PRICES = {"num_layers": 2.0, "ffn_size": 1.0, "num_kv_heads": 1.0, "hidden_size": 5.0}
"""What it costs to cut a size, times the squared logarithm of how much it is cut. Rounded from what a cut costs
SmolLM2-135M-Instruct before any training, in nats per token on top of 4.06: 0.43 with 3/4 of its inner neurons, 0.89
with 23 of 30 layers, 0.52 with 2 of 3 KV groups, 1.95 with 3/4 of its hidden channels. Long training evens this out
(Minitron, arXiv 2407.14679, prefers width then): whoever trains long names the sizes."""
_STEPS, _FINE, _HALVING = (64, 32, 16, 8, 4, 2, 1), 8, 0.05
"""Widths are multiples of one of these steps, which kernels and quantization groups like large: each halving costs.
Steps below the fine one are for targets that are not met otherwise."""
_MOST_VALUES = 64
"""Of one size at most: in wider models steps stay larger, and still far finer than the tolerance."""


class Fixed(NamedTuple):
    """The sizes that the user has fixed; `None` is free."""

    num_layers: int | None = None
    ffn_size: int | None = None
    hidden_size: int | None = None
    num_heads: int | None = None


class _Widths(NamedTuple):
    """Combinations of widths, one per entry of three int64 arrays."""

    hidden: Any
    kv_heads: Any
    ffn: Any


class _Row(NamedTuple):
    """All combinations of widths at one number of layers."""

    num_layers: int
    widths: _Widths
    num_parameters: Any


class Search:
    """The shapes that one teacher's student may have."""

    def __init__(self, teacher: Shape, architecture: Architecture, terms: tuple[Term, ...], fixed: Fixed) -> None:
        self._teacher = teacher
        self._architecture = architecture
        self._terms = terms
        self._fixed = fixed
        self._group = teacher.num_heads // teacher.num_kv_heads

    def prune(self, target: int, *, min_layers: int) -> Shape:
        """The least cut shape within 2 % of the target: the sizes shrink together, each by its price.

        Raises:
            UsageError: there is none; the message names the nearest below and above.
        """
        return self._best(target, min_layers, self._independent, self._distance)

    def grow(self, target: int) -> Shape:
        """The deepest shape within 2 % of the target that is no deeper than the teacher and has its proportions.

        Heads are in the teacher's proportion to the hidden size, to the nearest KV group; inner neurons within an
        eighth of it, so that the target can be met. Deep and thin is better than shallow and wide below a billion
        parameters (MobileLLM, arXiv 2402.14905).

        Raises:
            UsageError: there is none; the message names the nearest below and above.
        """
        layers = self._teacher.num_layers
        return self._best(
            target,
            1,
            self._proportional,
            lambda row: math.log(layers / row.num_layers) + self._disproportion(row.widths),
        )

    def proportions(self) -> Shape:
        """The teacher's shape with what is fixed, and the other widths in the teacher's proportion to hidden size.

        Raises:
            UsageError: no number of heads goes with this hidden size.
        """
        t = self._teacher
        hidden = self._fixed.hidden_size or t.hidden_size
        widths = self._proportional(8, hidden)
        if len(widths.hidden) == 0:
            raise UsageError(
                f"--hidden-size {hidden} goes with no number of heads in the proportion of the teacher's {t.num_heads} "
                f"heads in {t.num_kv_heads} KV groups to {t.hidden_size} ({self._architecture.name}): name another, or "
                "--num-heads too"
            )
        best = int(np.argmin(self._disproportion(widths)))
        return self._shape(self._fixed.num_layers or t.num_layers, widths, best)

    def _best(
        self, target: int, min_layers: int, widths: Callable[[int], _Widths], cost: Callable[[_Row], Any]
    ) -> Shape:
        best: tuple[float, Shape | None] = (np.inf, None)
        for halvings, step in enumerate(_STEPS):
            for row in self._rows(min_layers, widths(step)):
                miss = np.abs(row.num_parameters / target - 1)
                costs = np.where(miss <= TOLERANCE, cost(row) + _MISS * miss + _HALVING * halvings, np.inf)
                index = int(costs.argmin())
                if costs[index] < best[0]:
                    best = (float(costs[index]), self._shape(row.num_layers, row.widths, index))
            if best[1] is not None and step <= _FINE:
                return best[1]
        raise UsageError(self._impossible(target, self._rows(min_layers, widths(1))))

    def _rows(self, min_layers: int, widths: _Widths) -> Iterator[_Row]:
        fixed = self._fixed.num_layers
        for num_layers in [fixed] if fixed else range(min_layers, self._teacher.num_layers + 1):
            if len(widths.hidden):
                yield _Row(num_layers, widths, count(self._terms, num_layers, *widths))

    def _distance(self, row: _Row) -> Any:
        """How much the sizes are cut."""
        t = self._teacher
        return (
            _PRICES["num_layers"] * np.log(t.num_layers / row.num_layers) ** 2
            + _PRICES["ffn_size"] * np.log(t.ffn_size / row.widths.ffn) ** 2
            + _PRICES["num_kv_heads"] * np.log(t.num_kv_heads / row.widths.kv_heads) ** 2
            + _PRICES["hidden_size"] * np.log(t.hidden_size / row.widths.hidden) ** 2
        )

    def _impossible(self, target: int, rows: Iterator[_Row]) -> str:
        """What is possible instead: the nearest below the target and above it."""
        nearest: dict[int, tuple[float, Shape]] = {}
        for row in rows:
            apart = row.num_parameters - target
            for side in (-1, 1):
                distance = np.where(side * apart >= 0, np.abs(apart), np.inf)
                index = int(distance.argmin())
                if distance[index] < nearest.get(side, (np.inf,))[0]:
                    nearest[side] = (float(distance[index]), self._shape(row.num_layers, row.widths, index))
        found = [nearest[side][1] for side in (-1, 1) if side in nearest]
        least = min((count_shape(self._terms, replace(shape, num_layers=0)) for shape in found), default=0)
        why = f" (embeddings and head alone have {show_size(least)})" if least > target else ""
        fixed = [f"--{name.replace('_', '-')} {value}" for name, value in self._fixed._asdict().items() if value]
        given = f" with {' '.join(fixed)}" if fixed else ""
        what = f"no student{given} has {show_size(target)} parameters within {TOLERANCE:.0%}{why}"
        if not found:
            return f"{what}: no sizes go together. Fix fewer of them"
        sizes = [show_size(count_shape(self._terms, shape)) for shape in found]
        listing = " and ".join(f"{size} ({as_options(shape)})" for size, shape in zip(sizes, found, strict=True))
        return f"{what}. Nearest: {listing}. Type --target-params {sizes[0]}, or fix fewer sizes"

    def _shape(self, num_layers: int, widths: _Widths, index: int) -> Shape:
        hidden, kv_heads, ffn = (int(values[index]) for values in widths)
        shape = replace(self._teacher, num_layers=num_layers, hidden_size=hidden, ffn_size=ffn)
        return with_heads(shape, kv_heads * self._group)

    def _independent(self, step: int) -> _Widths:
        """Every combination of widths that the architecture allows."""
        t, fixed = self._teacher, self._fixed
        ffn = [fixed.ffn_size] if fixed.ffn_size else _multiples(t.ffn_size, step)
        kv_heads = [fixed.num_heads // self._group] if fixed.num_heads else list(range(1, t.num_kv_heads + 1))
        if fixed.hidden_size:
            hidden = [fixed.hidden_size]
        elif self._architecture.hidden_is == "product":
            hidden = sorted({kv * self._group * t.head_dim for kv in kv_heads} | {t.hidden_size})
        else:
            hidden = _multiples(t.hidden_size, step)
        grid = np.meshgrid(*(np.array(values, dtype=np.int64) for values in (hidden, kv_heads, ffn)))
        return self._allowed(_Widths(*(values.ravel() for values in grid)))

    def _proportional(self, step: int, hidden: int | None = None) -> _Widths:
        """For each hidden size the heads in the teacher's proportion to it, and inner neurons about in it."""
        t, fixed = self._teacher, self._fixed
        given = hidden or fixed.hidden_size
        found = []
        for size in [given] if given else _multiples(t.hidden_size, step):
            share = size / t.hidden_size
            kv_heads = fixed.num_heads // self._group if fixed.num_heads else max(1, round(t.num_kv_heads * share))
            ffn = [fixed.ffn_size] if fixed.ffn_size else _near(t.ffn_size * share, step, t.ffn_size)
            found += [(size, kv_heads, neurons) for neurons in ffn]
        return self._allowed(_Widths(*np.array(found, dtype=np.int64).T))

    def _disproportion(self, widths: _Widths) -> Any:
        """By how much the feed-forward ratio is off the teacher's, as a logarithm."""
        t = self._teacher
        return np.abs(np.log(widths.ffn / widths.hidden * t.hidden_size / t.ffn_size))

    def _allowed(self, widths: _Widths) -> _Widths:
        t = self._teacher
        allowed = fits(self._architecture, widths.hidden, widths.kv_heads * self._group, t.head_dim)
        # A teacher may itself break the rule (a Qwen2 with its own head_dim): kept as it is, it still works.
        same = (widths.hidden == t.hidden_size) & (widths.kv_heads == t.num_kv_heads)
        return _Widths(*(values[allowed | same] for values in widths))


def _multiples(size: int, step: int) -> list[int]:
    """Multiples of the step up to the size, and the size itself."""
    while size // step > _MOST_VALUES:
        step *= 2
    return sorted({*range(step, size + 1, step), size})


def _near(size: float, step: int, most: int) -> list[int]:
    """The multiples of the step within an eighth of the size, or the nearest one."""
    low, high = math.ceil(size * 7 / 8 / step), math.floor(size * 9 / 8 / step)
    nearest = max(1, round(size / step))
    return sorted({min(most, step * count) for count in {*range(max(1, low), high + 1), nearest}})
