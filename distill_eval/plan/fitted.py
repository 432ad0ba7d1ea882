"""A plan's options held against what its teacher and its hardware are, before anything is computed of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from distill_eval.errors import ModelError, require
from distill_eval.plan.config import PlanConfig, ServingLoad, TrainingPlan
from distill_eval.plan.room import can_be_cached
from distill_eval.schema.plan import Hardware, ModelSizes

_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_LENGTH = TrainingPlan().max_length


def check_dense(name: str, config: Any) -> None:
    """Refuse a mixture of experts, of whose weights a token passes a part that this plan does not count.

    Args:
        name: Of the teacher.
        config: Of transformers.

    Raises:
        ModelError: it is one.
    """
    text = config.get_text_config()
    for option in _EXPERTS:
        number = getattr(text, option, None)
        if isinstance(number, int) and number > 1:
            raise ModelError(
                f"{name} is a mixture of experts ({option} = {number}): a token passes some of them, and a plan's "
                "operations, bytes and times are of models whose weights all work. Name a dense teacher"
            )


def fitted(config: PlanConfig, teacher: ModelSizes, hardware: Hardware) -> tuple[PlanConfig, tuple[str, ...]]:
    """The options as they can be, and what was shortened of the defaults, as lines for the reader.

    Args:
        config: As given.
        teacher: Whose longest text nothing may pass.
        hardware: That is trained on.

    Raises:
        UsageError: something was asked for that the teacher or the hardware cannot do.
    """
    training = config.training
    require(
        training.dtype != "bfloat16" or hardware.has_bfloat16,
        f"--dtype bfloat16: {hardware.name} has none. Leave it out, or type --dtype float32",
    )
    require(
        training.teacher_source != "cached" or can_be_cached(teacher, config.method),
        "--teacher-source cached: a classifier's answers are not cached, nor are attention maps. Leave it live "
        "(--teacher-source bf16, int8 or int4)",
    )
    most, said = teacher.max_length, []
    if most is None:
        return config, ()
    if training.max_length > most:
        require(
            training.max_length == _LENGTH,
            f"--max-length {training.max_length}: {teacher.name} reads {most} tokens at once. Type --max-length {most}",
        )
        config = replace(config, training=replace(training, max_length=most))
        said.append(f"rows of {most} tokens, the most that {teacher.name} reads")
    load, shortened = config.serving, _load(config.serving, most, writes=teacher.kv_cache is not None)
    if shortened != load:
        config = replace(config, serving=shortened)
        said.append(f"prompts of {shortened.input_len} tokens and answers of {shortened.output_len}, the most that fit")
    return config, tuple(said)


def _load(load: ServingLoad, most: int, *, writes: bool) -> ServingLoad:
    """The requests with their defaults shortened to what fits.

    Raises:
        UsageError: what was given does not fit.
    """
    read, written = load.input_len, load.output_len if writes else 0
    if read + written <= most:
        return load
    usual = ServingLoad()
    if read != usual.input_len and written == usual.output_len:
        written = most - read
    elif read == usual.input_len:
        written = min(written, max(2, most // 5)) if written == usual.output_len else written
        read = most - written
    require(
        read > 0 and read + written <= most and (written >= 2 or not writes),
        f"--input-len {load.input_len} and --output-len {load.output_len}: the teacher has room for {most} tokens "
        "together",
    )
    return replace(load, input_len=read, output_len=written or load.output_len)
