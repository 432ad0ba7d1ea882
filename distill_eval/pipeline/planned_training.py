"""The training of a plan as a recipe does it: on one device, with a teacher that `distill` takes; or shared by hand."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from distill_eval.plan.config import LOADED_AS, HardwarePlan, PlanConfig
from distill_eval.plan.hardware import GIGA, TERA
from distill_eval.plan.pair import Pair, taught, training_dtype
from distill_eval.plan.training import training_figures
from distill_eval.record import digits
from distill_eval.schema.plan import Figure, Hardware, Method, Plan
from distill_eval.student.sizes import show_size

LOSSES: dict[Method, dict[str, float]] = {
    "logit": {"alpha": 0.7},
    "feature": {"alpha": 0.7, "feature_weight": 1.0},
    "attention": {"alpha": 0.7, "attention_weight": 1.0},
    "response": {"alpha": 0.0},
    "progressive": {"alpha": 0.7},
}
"""Of [distill.loss], where a plan's method is what is trained on."""
_UNCACHED = "nothing is learned of its distribution, so nothing is cached, and validations ask it live"
_COUNT = re.compile(r"^\d+x", re.IGNORECASE)
"""In front of a device's name."""


class AsRun(NamedTuple):
    """What `distill-eval run` does of a plan."""

    config: PlanConfig
    """On one device, with the teacher as it is held."""
    hardware: Hardware
    """That device."""
    figures: Mapping[str, Figure]
    """Of the training, by the end of their names."""
    options: Mapping[str, Any]
    """Of [distill.training]."""
    changed: tuple[str, ...]
    """What is not as it was asked for, and why."""


def as_run(plan: Plan, config: PlanConfig) -> AsRun:
    """The plan's training on one device: `run` refuses several processes.

    Args:
        plan: What was found.
        config: What was asked for.
    """
    held, changed = config.training.teacher_source, []
    if held == "cached" and config.method == "response":
        held = "bf16"
        changed.append(f"The teacher is held in {held}, not cached: {_UNCACHED}.")
    if not config.training.chunked_loss:
        changed.append("The loss is chunked: distill has no --no-chunked-loss.")
    training = replace(config.training, teacher_source=held, chunked_loss=True)
    planned, num_devices = {figure.name: figure for figure in plan.training}, plan.hardware.num_devices
    share, tokens = planned["training.utilisation"], planned["training.tokens"].value
    assert tokens is not None  # it is asked for, or the rule's
    if training.calibrate and num_devices > 1:
        training = replace(training, calibrate=False, utilisation=digits(share.value))  # it takes no named hardware
    one = replace(config, hardware=_one_device(config.hardware, plan.hardware), training=training)
    price = one.hardware.price_per_hour
    device = replace(plan.hardware, name=_name(plan.hardware), num_devices=1, price_per_hour=price)
    found = training_figures(_pairs(plan), one, device, share, tokens)
    return AsRun(
        config=one,
        hardware=device,
        figures={figure.name.removeprefix("training."): figure for figure in found},
        options={"steps": _steps(tokens, config, 1), **_options(one, device)},
        changed=tuple(changed),
    )


def chain(plan: Plan) -> tuple[str, ...]:
    """The sizes of a progressive distillation: of the assistant, and of the student."""
    return tuple(show_size(pair.student.parts.total) for pair in _pairs(plan))


def _pairs(plan: Plan) -> tuple[Pair, ...]:
    """Who teaches whom."""
    return taught([plan.teacher, *([plan.assistant.sizes] if plan.assistant else []), plan.students[0].sizes])


def _steps(tokens: float, config: PlanConfig, num_devices: int) -> int:
    """That so many tokens are, each device with a batch of its own."""
    training = config.training
    return max(1, math.ceil(tokens / (training.batch_size * training.max_length * num_devices)))


def _options(config: PlanConfig, hardware: Hardware) -> dict[str, Any]:
    """Of the training, but for its steps."""
    training = config.training
    found: dict[str, Any] = {"batch_size": training.batch_size}
    if training_dtype(training, hardware) == "bfloat16":
        found["dtype"] = "bfloat16"
    if training.gradient_checkpointing:
        found["gradient_checkpointing"] = True
    return found


def _name(hardware: Hardware) -> str:
    return hardware.name if hardware.num_devices == 1 else _COUNT.sub("", hardware.name, count=1)


def _one_device(asked: HardwarePlan, found: Hardware) -> HardwarePlan:
    """One of the plan's devices, at its part of the price."""
    if found.num_devices == 1:
        return asked
    price = None if asked.price_per_hour is None else asked.price_per_hour / found.num_devices
    one = replace(asked, hardware=_name(found), price_per_hour=price)
    if asked.hardware is not None:
        return one
    return replace(  # this machine's: no name of the table stands for one of its GPUs
        one,
        flops=found.flops / TERA,
        bandwidth=found.bandwidth / GIGA,
        memory=found.memory_bytes / GIGA,
    )


# ---- by hand, on several devices


def shared(plan: Plan, config: PlanConfig, run: AsRun) -> Iterator[str]:
    """The commands that share the training between all devices of the plan.

    Args:
        plan: What was found.
        config: What was asked for.
        run: The same on one device.
    """
    tokens, num_devices = run.figures["tokens"].value, plan.hardware.num_devices
    assert tokens is not None
    options = {**run.options, "steps": _steps(tokens, config, num_devices)}
    teacher = config.teacher
    for size in chain(plan) if config.method == "progressive" else (None,):
        prepared, folder = (f"{name}-{size}" if size else name for name in ("student", "distilled"))
        yield _prepare(plan, teacher, prepared, size)
        yield from _train(config, run, (teacher, prepared, folder), options, plan)
        teacher = folder


def _prepare(plan: Plan, teacher: str, folder: str, size: str | None) -> str:
    if size is None:
        return re.sub(r"--calibration \S+", "--calibration DATA", plan.students[0].prepare)
    said = {"teacher": teacher, "target_params": size, "calibration": "DATA", "output_dir": folder}
    return f"distill-eval prepare {_flags(said)}"


def _train(
    config: PlanConfig, run: AsRun, models: tuple[str, str, str], options: Mapping[str, Any], plan: Plan
) -> Iterator[str]:
    """Of teacher, prepared student, and the folder of the trained one."""
    teacher, prepared, folder = models
    rows: dict[str, Any] = {"data": "DATA", "max_length": config.training.max_length}
    taught: dict[str, Any] = {"teacher": teacher}
    if run.config.training.teacher_source == "cached":
        cache = f"{folder}-teacher-cache"
        kept = {"teacher": teacher, "student": prepared, **rows, **_mapped(config), "batch_size": options["batch_size"]}
        yield f"distill-eval cache-teacher {_flags({**kept, 'output_dir': cache})}"
        taught = {"cached_teacher": cache}
    else:
        taught["teacher_dtype"] = LOADED_AS[run.config.training.teacher_source]
    labels = {"label_column": "LABELS"} if plan.retained.fine_tuned else {}
    said = {"student": prepared, **taught, **rows, **labels, **LOSSES[config.method], **options, "output_dir": folder}
    launch = f"accelerate launch --multi_gpu --num_processes {plan.hardware.num_devices} -m distill_eval.cli"
    yield f"{launch} distill {_flags(said)}"


def _mapped(config: PlanConfig) -> dict[str, str]:
    """Hidden states that the training compares are kept too."""
    return {"layer_map": "uniform"} if "feature_weight" in LOSSES[config.method] else {}


def _flags(options: Mapping[str, Any]) -> str:
    words = []
    for name, value in options.items():
        words.append(f"--{name.replace('_', '-')}")
        words += [] if value is True else [shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))]
    return " ".join(words)
