"""What a training takes on its device and on disk, part by part, and what it would take at least."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from distill_eval.distill.config import TrainingConfig
from distill_eval.plan.activations import KEPT
from distill_eval.plan.config import PlanConfig, TeacherSource, TrainingPlan
from distill_eval.plan.hardware import CPU
from distill_eval.plan.memory import FLOAT, MOMENTS, Memory, cache_bytes_per_token, peak_memory, sharded_bytes
from distill_eval.plan.pair import UNCOUNTED, Pair, figure, training_dtype
from distill_eval.schema.plan import Figure, Hardware, Method, ModelSizes

CHECKPOINTS = TrainingConfig().keep_checkpoints + 1
"""Of a running `distill`: those it keeps, and the one that is being written."""
CHUNKED = "chunks of at most 256 MiB, and float32 blocks inside them"
TEXTBOOK = "the textbook's loss: logits and float32 probabilities of both models, and their gradient, of all rows"
_TEACHERS: dict[TeacherSource, str] = {
    "bf16": "bf16",
    "int8": "its layers in bitsandbytes' int8, the rest in bf16",
    "int4": "its layers in bitsandbytes' nf4 (a float32 scale per 64 weights), the rest in bf16",
}


def room_figures(pairs: Sequence[Pair], config: PlanConfig, hardware: Hardware, tokens: float) -> Iterator[Figure]:
    """Memory of one device, and disk.

    Args:
        pairs: The trainings, one after the other; the figures are of the one that takes most memory.
        config: The plan's.
        hardware: Several devices each hold everything, as `accelerate launch` has it.
        tokens: That each of them is over.
    """
    held = [_held_memory(pair, config.training, config.method, hardware) for pair in pairs]
    most = max(range(len(pairs)), key=lambda number: held[number].peak or 0.0)
    yield from _memory_figures(held[most], pairs[most], config, hardware)
    yield from _room_figures(held[most], pairs[most], config, hardware)
    yield from _disk_figures(pairs[most].student, config, tokens)


def can_be_cached(student: ModelSizes, method: Method) -> bool:
    """Whether `cache-teacher` keeps what such a student learns from: no classifier's labels, no attention maps."""
    return student.kv_cache is not None and method != "attention"


def smallest(config: TrainingPlan, student: ModelSizes, method: Method) -> TrainingPlan:
    """The same training with the options that take least memory."""
    source = "cached" if can_be_cached(student, method) else config.teacher_source
    return replace(config, batch_size=1, gradient_checkpointing=True, chunked_loss=True, teacher_source=source)


def teacher_cache_bytes(bytes_per_token: float, tokens: float) -> float:
    """On disk, of a teacher's answers: every token is seen once."""
    return bytes_per_token * tokens


def checkpoint_bytes(num_parameters: int) -> float:
    """On disk, of a training that runs: weights and moments of each checkpoint."""
    return CHECKPOINTS * (1 + MOMENTS) * FLOAT * num_parameters


def _held_memory(pair: Pair, config: TrainingPlan, method: Method, hardware: Hardware) -> Memory:
    return peak_memory(
        pair.teacher,
        pair.student,
        config,
        training_dtype(config, hardware),
        num_devices=hardware.num_devices,
        on_cpu=hardware.name == CPU,
        method=method,
    )


def _memory_figures(parts: Memory, pair: Pair, plan: PlanConfig, hardware: Hardware) -> tuple[Figure, ...]:
    config, student = plan.training, pair.student
    dtype = training_dtype(config, hardware)
    unknown = f"not known of a {student.architecture}; known: {', '.join(KEPT)}" if parts.activations is None else None
    kept = "the residual stream before each layer, and one layer whole" if config.gradient_checkpointing else "all"
    copies = "" if dtype == "float32" else ", and autocast's copies of the layers' matrices in bfloat16"
    twice = "; twice, for the buckets in which devices exchange them" if hardware.num_devices > 1 else ""
    rows = f"{config.batch_size} x {config.max_length} tokens"
    return (
        figure("weights_bytes", parts.weights, "bytes", f"4 per parameter{copies}"),
        figure("gradients_bytes", parts.gradients, "bytes", f"4 per parameter{twice}"),
        figure("optimizer_bytes", parts.optimizer, "bytes", "AdamW: 8 per parameter"),
        figure(
            "activations_bytes",
            parts.activations,
            "bytes",
            unknown or f"{kept} that autograd saves of {rows} in {dtype} (after arXiv 2205.05198, section 4.1)",
        ),
        figure("logits_bytes", parts.logits, "bytes", CHUNKED if config.chunked_loss else TEXTBOOK),
        figure("teacher_bytes", parts.teacher, "bytes", _held(plan)),
        _counted(
            plan.method,
            "peak_bytes",
            parts.peak,
            "bytes",
            unknown
            or "weights, optimizer and teacher, with the larger of activations, loss and the head's gradient, and of "
            f"all gradients{_of_whom(pair, plan)}; without what CUDA, libraries and a fragmented heap take",
        ),
    )


def _of_whom(pair: Pair, plan: PlanConfig) -> str:
    """Of which of two trainings."""
    return f", while {pair.student.name} learns, which takes most" if plan.method == "progressive" else ""


def _counted(method: Method, name: str, value: float | None, unit: str, source: str) -> Figure:
    """What memory comes to; with a method that holds more than is counted it is a lower end, and no figure."""
    besides = UNCOUNTED.get(method)
    if besides is None or value is None:
        return figure(name, value, unit, source)
    return figure(name, None, unit, f"not counted are {besides}; without them: {source}", spread=(value, None))


def _room_figures(parts: Memory, pair: Pair, plan: PlanConfig, hardware: Hardware) -> Iterator[Figure]:
    """Whether it fits, and what it could come to."""
    config, student, method = plan.training, pair.student, plan.method
    unknown = "the activations are not known"
    share = None if parts.peak is None else parts.peak / hardware.memory_bytes
    above = "of one device's memory; above 1 is too much"
    yield _counted(method, "fits", share, "share", unknown if share is None else above)
    least = smallest(config, student, method)
    held = _held_memory(pair, least, method, hardware)
    how = f"at {' '.join(_least_options(least))}, with rows of {config.max_length} tokens"
    yield _counted(method, "least_bytes", held.peak, "bytes", unknown if held.peak is None else how)
    if hardware.num_devices > 1:
        sharded = sharded_bytes(held, hardware.num_devices)
        how += (
            f", with weights, gradients, moments and teacher sharded over {hardware.num_devices} devices (ZeRO-3, "
            "arXiv 1910.02054; FSDP), without what a layer gathers; distill does not do it"
        )
        yield _counted(method, "sharded_bytes", sharded, "bytes", unknown if sharded is None else how)


def _least_options(least: TrainingPlan) -> list[str]:
    cached = ["--teacher-source cached"] if least.teacher_source == "cached" else []
    return [f"--batch-size {least.batch_size}", "--gradient-checkpointing", *cached]


def _held(plan: PlanConfig) -> str:
    """In what the teacher is held, and for what."""
    source = plan.training.teacher_source
    if source == "cached":
        return "cached: it is not loaded"
    also = "loaded for validation alone" if plan.method == "response" else "and its last hidden states"
    return f"{_TEACHERS[source]}, {also}"


def _disk_figures(student: ModelSizes, plan: PlanConfig, tokens: float) -> tuple[Figure, ...]:
    cache, config = None, plan.training
    why = "the teacher is live: nothing is cached"
    if config.teacher_source == "cached" and student.kv_cache is not None:
        per_token = cache_bytes_per_token(student.vocab_size)
        cache = teacher_cache_bytes(per_token, tokens)
        why = f"at most {per_token:g} bytes per token before compression, every token seen once"
    whole = checkpoint_bytes(student.parts.total)
    return (
        figure("teacher_cache_bytes", cache, "bytes", why),
        figure("checkpoint_bytes", whole, "bytes", f"{CHECKPOINTS} checkpoints of 12 bytes per parameter"),
    )
