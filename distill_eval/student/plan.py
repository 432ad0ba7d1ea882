"""What the student will be, decided from the teacher's config alone, before any weights are there."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from distill_eval.errors import require
from distill_eval.schema.student import Shape
from distill_eval.student.architectures import ARCHITECTURES
from distill_eval.student.config import PrepareConfig
from distill_eval.student.count import Term, count_shape, on_meta, read_terms
from distill_eval.student.layers import parse_dropped, parse_layers
from distill_eval.student.search import Fixed, Search
from distill_eval.student.shape import check_widths, read_shape, requested
from distill_eval.student.sizes import parse_size, show_size
from distill_eval.student.teacher import Teacher


class Plan(NamedTuple):
    """The sizes of the teacher and of its student."""

    before: Shape | None
    """`None` for an architecture of which only layers can be dropped."""
    after: Shape | None
    layers: tuple[int, ...] | None
    """The teacher's layers to keep; `None` when their importance decides, or the student is fresh."""
    target: int | None
    """Parameters asked for."""
    num_parameters: int | None
    """Of the student, counted; `None` when layers alone are dropped."""

    @property
    def is_narrower(self) -> bool:
        """Whether any width changes."""
        if self.before is None or self.after is None:
            return False
        return replace(self.before, num_layers=self.after.num_layers) != self.after


def make_plan(config: PrepareConfig, teacher: Teacher) -> Plan:
    """Decide the student's sizes.

    Raises:
        UsageError: they do not fit the teacher, or no sizes meet the target.
        ModelError: more than listing layers is asked of an architecture that is not known.
    """
    layers = _listed(config, teacher.config.num_hidden_layers)
    if not config.needs_calibration and not config.fresh:
        known = ARCHITECTURES.get(teacher.class_name)
        before = read_shape(teacher.config, known) if known else None
        after = replace(before, num_layers=len(layers)) if before and layers else None
        return Plan(before, after, layers, None, None)
    architecture = teacher.architecture
    before = read_shape(teacher.config, architecture)
    terms = read_terms(on_meta(teacher.config, teacher.kind), architecture, before)
    target = _target(config, terms, before)
    fixed = Fixed(len(layers) if layers else config.num_layers, config.ffn_size, config.hidden_size, config.num_heads)
    asked = requested(config, before, fixed.num_layers or before.num_layers)
    if (config.hidden_size and config.num_heads) or (target is None and not config.fresh):
        check_widths(architecture, before, asked)
    search = Search(before, architecture, terms, fixed)
    least = _least_layers(config, before)
    if config.fresh:
        after = search.proportions() if target is None else search.grow(target)
    else:
        after = asked if target is None else search.prune(target, min_layers=least)
    if layers is None and not config.fresh and after.num_layers == before.num_layers:
        layers = tuple(range(before.num_layers))
    return Plan(before, after, layers, target, count_shape(terms, after))


def _listed(config: PrepareConfig, num_layers: int) -> tuple[int, ...] | None:
    """The layers that are to be kept by number; all of them when nothing is said of layers."""
    if config.keep_layers is not None:
        return parse_layers(config.keep_layers, num_layers)
    if config.drop_layers is not None:
        return parse_dropped(config.drop_layers, num_layers)
    return None if config.ranks_layers or config.fresh else tuple(range(num_layers))


def _target(config: PrepareConfig, terms: tuple[Term, ...], teacher: Shape) -> int | None:
    most = count_shape(terms, teacher)
    if config.ratio is not None:
        return round(config.ratio * most)
    if config.target_params is None:
        return None
    target = parse_size(config.target_params)
    require(
        target <= most,
        f"--target-params {config.target_params}: the teacher has {show_size(most)} ({most:,}), and a student not more",
    )
    return target


def _least_layers(config: PrepareConfig, teacher: Shape) -> int:
    """How few layers the student may have."""
    least = min(teacher.num_layers, 2 if config.keep_ends and config.ranks_layers else 1)
    require(
        config.num_layers is None or config.num_layers >= least,
        f"--num-layers {config.num_layers}: the first and the last layer are kept. Type --num-layers {least}, or "
        "--no-keep-ends",
    )
    return least
