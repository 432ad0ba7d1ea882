"""Which architectures a student of a given size may have, and the `prepare` command that makes each."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from distill_eval.errors import ModelError, UsageError, require
from distill_eval.plan.config import PlanConfig
from distill_eval.plan.sizes import model_sizes
from distill_eval.schema.model import ModelRef
from distill_eval.schema.plan import ModelSizes, StudentPlan
from distill_eval.schema.student import Shape
from distill_eval.student.count import on_meta, read_terms
from distill_eval.student.depth import evenly_spaced, keep_in_config
from distill_eval.student.fresh import resized
from distill_eval.student.search import TOLERANCE, Fixed, Search
from distill_eval.student.shape import as_options, read_shape
from distill_eval.student.sizes import parse_size, show_size
from distill_eval.student.teacher import Teacher

MOST = 3
"""Students that a plan proposes."""
_SHARES = (1.0, 0.75, 0.5)
"""Of the teacher's layers (deep) or inner neurons (shallow) that are to stay: the first of them that can."""
_STEP = 64
"""Inner neurons are a multiple of it, which kernels and quantization groups like."""
_KEPT_ENDS = 2
"""Layers that `prepare` keeps at least when it chooses them by importance: the first and the last."""
_SHALLOWEST = 4
"""A student has at least the teacher's layers over this before it is called shallow: of 80 not 2, whatever the size."""
_CALIBRATION = "--calibration corpus.txt"
"""A cut needs text, which only the user has."""
_DEEP = (
    "Deep and narrow: the cut is in the widths as far as they go, which kept more than dropping layers did after long "
    "training (Minitron, arXiv 2407.14679)."
)
_LEAST = (
    "Cut where it hurts least before any training: all sizes shrink together, by what cutting each was seen to cost."
)
_SHALLOW = (
    "Shallow and wide: whole layers go and the hidden size stays, as DistilBERT was made (arXiv 1910.01108); a token "
    "passes fewer layers one after the other."
)
_FRESH = "A new model in the teacher's proportions: no text is needed to cut it, but its weights begin at random."
_BETWEEN = "Three quarters of the teacher's layers, the rest of the cut in the widths."
_LAYERS = "Fewer layers, spread evenly: nothing else can be cut from a {name}."


class _Candidate(NamedTuple):
    shape: Shape
    why: str
    is_fresh: bool

    @property
    def options(self) -> str:
        """Of `prepare`."""
        return f"{as_options(self.shape)} {'--fresh' if self.is_fresh else _CALIBRATION}"


def find_target(config: PlanConfig, num_parameters: int) -> int:
    """Parameters that the student is to have.

    Args:
        config: Says it, as a ratio or as a number.
        num_parameters: Of the teacher.

    Raises:
        UsageError: the teacher has fewer.
    """
    if config.ratio is not None:
        return max(1, round(num_parameters / config.ratio))
    assert config.target_params is not None  # one of the two is given
    target = parse_size(config.target_params)
    require(
        target <= num_parameters,
        f"--target-params {config.target_params}: the teacher has {show_size(num_parameters)} ({num_parameters:,}), "
        f"and a student not more. Type a smaller number, e.g. --target-params {show_size(num_parameters // 4)}",
    )
    return target


def propose(teacher: Teacher, target: int) -> tuple[StudentPlan, ...]:
    """Up to three students with this many parameters, within 2 %, the deepest and narrowest first.

    Everything is counted on tensors without memory. Layers that differ (sliding windows) are taken to be like the
    teacher's first ones; `prepare` chooses them by importance. A teacher that can lose layers alone gets the numbers
    of layers around the target, which they may miss by more.

    Args:
        teacher: Its config decides.
        target: Parameters, not more than the teacher has (`find_target`).

    Raises:
        UsageError: no student has so few parameters; the message names what is possible.
        ModelError: transformers cannot build the teacher.
    """
    whole = model_sizes(teacher.config, teacher.kind, name=str(teacher.ref), source="")
    try:
        architecture = teacher.architecture
        before = read_shape(teacher.config, architecture)
        terms = read_terms(on_meta(teacher.config, teacher.kind), architecture, before)
    except ModelError:  # of such a teacher layers can be dropped, and nothing else
        return _with_fewer_layers(teacher, whole, target)
    wanted = _candidates(lambda fixed: Search(before, architecture, terms, fixed), before, target)
    return tuple(
        _plan(teacher, whole, resized(teacher.config, architecture, one.shape), one.options, one.why)
        for one in sorted(wanted, key=lambda one: (one.is_fresh, -one.shape.num_layers, one.shape.hidden_size))
    )


class Chain(NamedTuple):
    """Two trainings: the teacher's of an assistant, and the assistant's of the student."""

    assistant: StudentPlan
    student: StudentPlan
    assistant_config: Any
    """Of transformers."""
    student_config: Any


def chain(teacher: Teacher, between: int, target: int) -> Chain:
    """An assistant and its student, each as plain `prepare --target-params` cuts it.

    Args:
        teacher: Its config decides.
        between: Parameters of the assistant.
        target: Of the student.

    Raises:
        UsageError: no model has so few parameters.
        ModelError: nothing but layers can be cut from the teacher.
    """
    architecture, ref = teacher.architecture, ModelRef.parse("./assistant")
    assistant = _plain(propose(teacher, between))
    config = resized(teacher.config, architecture, _shape(assistant))
    student = _plain(propose(teacher._replace(ref=ref, config=config), target))
    whole = assistant.compression * assistant.sizes.parts.total
    command = assistant.prepare.replace("--output-dir student", "--output-dir assistant")
    return Chain(
        replace(assistant, prepare=command, sizes=replace(assistant.sizes, name=f"assistant, {assistant.sizes.name}")),
        replace(student, compression=whole / student.sizes.parts.total),
        config,
        resized(config, architecture, _shape(student)),
    )


def _plain(students: Sequence[StudentPlan]) -> StudentPlan:
    """The one that plain `prepare` makes, where it is among them."""
    return next((one for one in students if one.why == _LEAST), students[0])


def _shape(student: StudentPlan) -> Shape:
    assert student.sizes.shape is not None  # its architecture is known
    return student.sizes.shape


def _candidates(search: Callable[[Fixed], Search], before: Shape, target: int) -> list[_Candidate]:
    """Different architectures of this size, those first that are wanted most.

    Raises:
        UsageError: there is none.
    """
    least = min(before.num_layers, _KEPT_ENDS)

    def find(fixed: Fixed, why: str) -> Shape:
        if why == _FRESH:
            return search(fixed).grow(target)
        shallowest = before.num_layers // _SHALLOWEST if why == _SHALLOW else 0
        return search(fixed).prune(target, min_layers=max(least, shallowest))

    found: dict[Shape, _Candidate] = {}
    for why, tries in _ways(before, least):
        for fixed in tries if len(found) < MOST else ():
            with suppress(UsageError):
                shape = find(fixed, why)
                found.setdefault(shape, _Candidate(shape, why, is_fresh=why == _FRESH))
                break
    if not found:
        find(Fixed(), _LEAST)  # raises, and says what is possible
    return list(found.values())


def _ways(before: Shape, least: int) -> Iterator[tuple[str, list[Fixed]]]:
    """Why a student may be wanted, and the sizes to fix for it: the first that lead to one."""
    depths = [Fixed(num_layers=max(least, round(share * before.num_layers))) for share in _SHARES]
    neurons = [before.ffn_size, *(int(share * before.ffn_size) // _STEP * _STEP for share in _SHARES[1:])]
    yield _DEEP, depths
    yield _LEAST, [Fixed()]
    yield _SHALLOW, [Fixed(None, size, before.hidden_size, before.num_heads) for size in neurons if size]
    yield _FRESH, [Fixed()]
    yield _BETWEEN, depths[1:2]


def _with_fewer_layers(teacher: Teacher, whole: ModelSizes, target: int) -> tuple[StudentPlan, ...]:
    """The numbers of layers on both sides of the target, the nearest first.

    Raises:
        UsageError: one layer has more parameters than that already.
    """
    most = teacher.config.num_hidden_layers
    least = _count(teacher, 1)
    require(
        target >= least * (1 - TOLERANCE),
        f"no student of {teacher.ref} has {show_size(target)} parameters: nothing but layers can be cut from a "
        f"{teacher.class_name}, and with one layer it has {show_size(least)}. Type --target-params {show_size(least)}",
    )
    per_layer = (whole.parts.total - least) / max(1, most - 1)
    middle = round(1 + (target - least) / per_layer) if per_layer else most
    numbers = {min(most, max(1, middle + step)) for step in (-1, 0, 1)}
    plans = []
    for number in sorted(numbers, key=lambda number: abs(_count(teacher, number) - target)):
        kept = evenly_spaced(number, most)
        how = f"--keep-layers {','.join(map(str, kept))}"
        plans.append(_plan(teacher, whole, _kept(teacher, kept), how, _LAYERS.format(name=teacher.class_name)))
    return tuple(plans)


def _kept(teacher: Teacher, layers: tuple[int, ...]) -> Any:
    config = copy.deepcopy(teacher.config)
    keep_in_config(config, layers)
    return config


def _count(teacher: Teacher, num_layers: int) -> int:
    config = _kept(teacher, evenly_spaced(num_layers, teacher.config.num_hidden_layers))
    return on_meta(config, teacher.kind).num_parameters()


def _plan(teacher: Teacher, whole: ModelSizes, config: Any, how: str, why: str) -> StudentPlan:
    name = f"student of {config.num_hidden_layers} layers"
    width = getattr(config, "hidden_size", None)
    sizes = model_sizes(
        config,
        teacher.kind,
        name=f"{name}, hidden size {width}" if width else name,
        source="the teacher's config with these sizes",
    )
    return StudentPlan(
        sizes=sizes,
        compression=whole.parts.total / sizes.parts.total,
        why=why,
        prepare=f"distill-eval prepare --teacher {shlex.quote(str(teacher.ref))} --output-dir student {how}",
    )
