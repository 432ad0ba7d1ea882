"""What share of its peak this machine reaches in a training: a few real steps of models with these shapes.

Weights and tokens are random: they cost as much as real ones. Shapes: B batch, T positions.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from distill_eval.distill.config import LossConfig, TrainingConfig
from distill_eval.distill.lesson import TextLesson
from distill_eval.distill.signals import LiveSignal
from distill_eval.errors import ModelError, UsageError, require
from distill_eval.evaluate.room import free_bytes
from distill_eval.plan.activations import Dtype
from distill_eval.plan.config import PlanConfig, TrainingPlan
from distill_eval.plan.flops import step_flops
from distill_eval.plan.hardware import CPU
from distill_eval.plan.memory import peak_memory
from distill_eval.plan.pair import training_dtype
from distill_eval.schema.plan import Figure, Hardware, ModelSizes

WARM_UP, STEPS = 1, 5
LEARNING_RATE = 1e-5
"""Nothing is learned of random tokens; all else is as `distill` has it by default."""


class Side(NamedTuple):
    """A model of the plan."""

    config: Any
    """Of transformers."""
    sizes: ModelSizes


def calibrate(
    teacher: Side, student: Side, config: PlanConfig, hardware: Hardware, *, say: Callable[[str], None]
) -> Figure:
    """The share of one device's peak FLOP/s that training the student reaches here, with its spread over the steps.

    Where teacher and student do not fit in memory together, the student is trained without one, and that is said.

    Raises:
        UsageError: the hardware of the plan is not this machine, or the student is no language model.
        ModelError: there is too little memory for the student alone.
    """
    asked = config.hardware.hardware
    require(
        asked is None or asked.lower() == CPU,
        f"--calibrate measures this machine, and --hardware {asked} is another. Leave one of them out, or give the "
        "share itself with --utilisation",
    )
    if student.sizes.kv_cache is None:
        raise UsageError("--calibrate trains a language model; give a classifier's share with --utilisation 0.2")
    training, device = config.training, "cpu" if hardware.name == CPU else "cuda"
    dtype = training_dtype(training, hardware)
    without = ", without a teacher, which wrote its texts before"
    if config.method != "response":
        without = _without_teacher(teacher.sizes, student.sizes, training, dtype, device)
    times = step_seconds(None if without else teacher.config, student.config, training, dtype, device, say=say)
    flops = step_flops(
        None if without else teacher.sizes,
        student.sizes,
        training.max_length,
        checkpointing=training.gradient_checkpointing,
    )
    work = flops * training.batch_size * training.max_length / hardware.peak_flops(dtype)
    return Figure(
        name="training.utilisation",
        value=work / statistics.median(times),
        unit="share",
        low=work / max(times),
        high=work / min(times),
        basis="measured",
        source=f"median of {len(times)} steps of {training.batch_size} x {training.max_length} random tokens in "
        f"{dtype} on {hardware.name}, of {min(times):.3g} to {max(times):.3g} s{without}",
    )


def _without_teacher(
    teacher: ModelSizes, student: ModelSizes, training: TrainingPlan, dtype: Dtype, device: str
) -> str:
    """Why the student trains alone; empty where it does not.

    Raises:
        ModelError: it does not fit either.
    """
    free = free_bytes(device)
    parts = peak_memory(teacher, student, training, dtype, on_cpu=device == "cpu")
    if training.teacher_source == "cached":
        return ", without a teacher, as it is cached"
    live = teacher.weight_bytes["bf16"] - parts.teacher
    peak = parts.peak or parts.weights + parts.gradients + parts.optimizer + parts.teacher
    if peak + live <= free:
        return "" if training.teacher_source == "bf16" else ", with the teacher in bf16"
    if peak - parts.teacher > free:
        raise ModelError(
            f"--calibrate: training {student.name} takes {peak / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free here. "
            "Lower --batch-size or --max-length, add --gradient-checkpointing, or give --utilisation"
        )
    return f", without the teacher: with it {peak / 1e9:.1f} GB would be held, and {free / 1e9:.1f} GB are free"


def step_seconds(
    teacher: Any,
    student: Any,
    training: TrainingPlan,
    dtype: Dtype,
    device: str,
    *,
    say: Callable[[str], None],
    steps: int = STEPS,
) -> list[float]:
    """Of each timed optimizer step, with `distill`'s own loss.

    Args:
        teacher: Config of a live one; `None` trains on the labels alone.
        student: Config.
        training: Batch, length and checkpointing.
        dtype: That the student computes in.
        device: `cpu` or `cuda`.
        say: Hears each step.
        steps: That are timed, after one that warms up.
    """
    model = AutoModelForCausalLM.from_config(student, dtype=torch.float32).to(device)
    if training.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    live = None
    if teacher is not None:
        live = AutoModelForCausalLM.from_config(teacher, dtype=torch.bfloat16).to(device).eval().requires_grad_(False)
    signal = None if live is None else LiveSignal((live,), (1.0,))
    loss_of, max_norm = LossConfig(), TrainingConfig().max_grad_norm
    lesson = TextLesson(model, signal, divergence="forward_kl", temperature=loss_of.temperature, beta=loss_of.beta)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    batch = _random_batch(training, int(student.get_text_config().vocab_size), device)
    wait: Callable[[], object] = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    model.train()
    times = []
    with ExitStack() as stack:
        stack.callback(lesson.detach)
        for step in range(WARM_UP + steps):
            wait()
            began = time.perf_counter()
            with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                loss = lesson(model, batch, alpha=loss_of.alpha, denominator=batch["shift_labels"].numel()).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            wait()
            times.append(time.perf_counter() - began)
            say(f"calibration: step {step + 1} of {WARM_UP + steps} took {times[-1]:.2f} s")
    return times[WARM_UP:]


def _random_batch(training: TrainingPlan, vocab_size: int, device: str) -> Mapping[str, Tensor]:
    """Rows of two packed documents each, every token scored, as `blocks.Collator` gives them."""
    rows, length = training.batch_size, training.max_length
    tokens_BT = torch.randint(vocab_size, (rows, length + 1), generator=torch.Generator().manual_seed(0))
    first = length // 2
    positions_T = torch.cat([torch.arange(first), torch.arange(length - first)])
    batch = {
        "input_ids": tokens_BT[:, :-1],
        "position_ids": positions_T.expand(rows, -1),
        "shift_labels": tokens_BT[:, 1:],
    }
    return {name: value.contiguous().to(device) for name, value in batch.items()}
