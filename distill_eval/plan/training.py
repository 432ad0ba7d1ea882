"""Memory, operations, time, price and disk of a distillation, part by part as `distill` does it.

docs/metrics.md has the formulas, and docs/design/plan.md how far they were from measured runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from distill_eval.distill.config import TrainingConfig
from distill_eval.plan.activations import KEPT, Dtype
from distill_eval.plan.config import PlanConfig, TrainingPlan
from distill_eval.plan.flops import step_flops
from distill_eval.plan.hardware import CPU
from distill_eval.plan.memory import FLOAT, MOMENTS, Memory, cache_bytes_per_token, peak_memory, sharded_bytes
from distill_eval.schema.plan import Basis, Figure, Hardware, ModelSizes

CHECKPOINTS = TrainingConfig().keep_checkpoints + 1
"""Of a running `distill`: those it keeps, and the one that is being written."""
GPU_SHARE, GPU_LOW, GPU_HIGH = 0.35, 0.26, 0.46
GPU_SHARE_SOURCE = (
    "assumed; 0.26 to 0.46 were published for 0.8B to 70B parameters on H100 in bfloat16 "
    "(https://github.com/mosaicml/llm-foundry/blob/main/scripts/train/benchmarking/README.md)"
)


CHUNKED = "chunks of at most 256 MiB, and float32 blocks inside them"
TEXTBOOK = "the textbook's loss: logits and float32 probabilities of both models, and their gradient, of all rows"


def training_dtype(config: TrainingPlan, hardware: Hardware) -> Dtype:
    """What the student computes in: by default bfloat16 autocast on a GPU, on a processor float32."""
    if config.dtype is not None:
        return config.dtype
    return "float32" if hardware.name == CPU else "bfloat16"


def assumed_utilisation(config: TrainingPlan, hardware: Hardware) -> Figure:
    """The share of the peak that a training reaches, where nothing was measured.

    Of a processor it is not known: kernels and dtypes differ too much to guess.
    """

    def figure(value: float | None, source: str, low: float | None = None, high: float | None = None) -> Figure:
        return Figure(
            name="training.utilisation",
            value=value,
            unit="share",
            low=low,
            high=high,
            basis="estimate",
            source=source,
        )

    if config.utilisation is not None:
        return figure(config.utilisation, "--utilisation as given")
    if hardware.name == CPU:
        return figure(None, "not known of a processor: add --calibrate, which measures it in a short training")
    return figure(GPU_SHARE, GPU_SHARE_SOURCE, GPU_LOW, GPU_HIGH)


def training_figures(
    teacher: ModelSizes,
    student: ModelSizes,
    config: PlanConfig,
    hardware: Hardware,
    utilisation: Figure,
    tokens: float,
) -> tuple[Figure, ...]:
    """Everything that a plan says of the training: memory of one device, FLOPs, time, price and disk.

    Args:
        teacher: Its sizes.
        student: Of the proposed one.
        config: The plan's.
        hardware: Several devices each hold everything and share the tokens, as `accelerate launch` has it.
        utilisation: Share of the peak FLOP/s, with its spread.
        tokens: That the student is trained on.
    """
    parts = _held_memory(teacher, student, config.training, hardware)
    return (
        _figure("tokens", tokens, "tokens", "--tokens, or what the classic rule asks for"),
        *_memory_figures(parts, teacher, student, config.training, hardware),
        *_room_figures(parts, teacher, student, config.training, hardware),
        *_disk_figures(student, config.training, tokens),
        *_time_figures(teacher, student, config, hardware, utilisation, tokens),
    )


def _held_memory(teacher: ModelSizes, student: ModelSizes, config: TrainingPlan, hardware: Hardware) -> Memory:
    return peak_memory(
        teacher,
        student,
        config,
        training_dtype(config, hardware),
        num_devices=hardware.num_devices,
        on_cpu=hardware.name == CPU,
    )


def training_flops(teacher: ModelSizes, student: ModelSizes, config: TrainingPlan, tokens: float) -> float:
    """Of a whole training, validations aside."""
    return tokens * step_flops(teacher, student, config.max_length, checkpointing=config.gradient_checkpointing)


def training_seconds(flops: float, hardware: Hardware, share: float) -> float:
    """On all devices, at a share of their peak."""
    return flops / (hardware.flops * hardware.num_devices * share)


def dollars(seconds: float, price_per_hour: float) -> float:
    """What they cost."""
    return seconds / 3600 * price_per_hour


def teacher_cache_bytes(bytes_per_token: float, tokens: float) -> float:
    """On disk, of a teacher's answers: every token is seen once."""
    return bytes_per_token * tokens


def checkpoint_bytes(num_parameters: int) -> float:
    """On disk, of a training that runs: weights and moments of each checkpoint."""
    return CHECKPOINTS * (1 + MOMENTS) * FLOAT * num_parameters


def _figure(
    name: str,
    value: float | None,
    unit: str,
    source: str,
    *,
    basis: Basis = "estimate",
    spread: tuple[float | None, float | None] = (None, None),
) -> Figure:
    low, high = spread
    return Figure(name=f"training.{name}", value=value, unit=unit, low=low, high=high, basis=basis, source=source)


def _memory_figures(
    parts: Memory, teacher: ModelSizes, student: ModelSizes, config: TrainingPlan, hardware: Hardware
) -> tuple[Figure, ...]:
    dtype = training_dtype(config, hardware)
    unknown = f"not known of a {student.architecture}; known: {', '.join(KEPT)}" if parts.activations is None else None
    kept = "the residual stream before each layer, and one layer whole" if config.gradient_checkpointing else "all"
    copies = "" if dtype == "float32" else ", and autocast's copies of the layers' matrices in bfloat16"
    twice = "; twice, for the buckets in which devices exchange them" if hardware.num_devices > 1 else ""
    rows = f"{config.batch_size} x {config.max_length} tokens"
    return (
        _figure("weights_bytes", parts.weights, "bytes", f"4 per parameter{copies}"),
        _figure("gradients_bytes", parts.gradients, "bytes", f"4 per parameter{twice}"),
        _figure("optimizer_bytes", parts.optimizer, "bytes", "AdamW: 8 per parameter"),
        _figure(
            "activations_bytes",
            parts.activations,
            "bytes",
            unknown or f"{kept} that autograd saves of {rows} in {dtype} (after arXiv 2205.05198, section 4.1)",
        ),
        _figure("logits_bytes", parts.logits, "bytes", CHUNKED if config.chunked_loss else TEXTBOOK),
        _figure("teacher_bytes", parts.teacher, "bytes", f"{_held(teacher, config)}, and its last hidden states"),
        _figure(
            "peak_bytes",
            parts.peak,
            "bytes",
            unknown
            or "weights, optimizer and teacher, with the larger of activations, loss and the head's gradient, and of "
            "all gradients; without what CUDA, libraries and a fragmented heap take",
        ),
    )


def _room_figures(
    parts: Memory, teacher: ModelSizes, student: ModelSizes, config: TrainingPlan, hardware: Hardware
) -> Iterator[Figure]:
    """Whether it fits, and what it could come to."""
    unknown = "the activations are not known"
    share = None if parts.peak is None else parts.peak / hardware.memory_bytes
    yield _figure("fits", share, "share", unknown if share is None else "of one device's memory; above 1 is too much")
    least = smallest(config, student)
    held = _held_memory(teacher, student, least, hardware)
    how = f"at {' '.join(_least_options(least, student))}, with rows of {config.max_length} tokens"
    yield _figure("least_bytes", held.peak, "bytes", unknown if held.peak is None else how)
    if hardware.num_devices > 1:
        sharded = sharded_bytes(held, hardware.num_devices)
        how += (
            f", with weights, gradients, moments and teacher sharded over {hardware.num_devices} devices (ZeRO-3, "
            "arXiv 1910.02054; FSDP), without what a layer gathers; distill does not do it"
        )
        yield _figure("sharded_bytes", sharded, "bytes", unknown if sharded is None else how)


def smallest(config: TrainingPlan, student: ModelSizes) -> TrainingPlan:
    """The same training with the options that take least memory; a classifier's teacher cannot be cached."""
    source = config.teacher_source if student.kv_cache is None else "cached"
    return replace(config, batch_size=1, gradient_checkpointing=True, chunked_loss=True, teacher_source=source)


def _least_options(least: TrainingPlan, student: ModelSizes) -> list[str]:
    cached = [] if student.kv_cache is None else ["--teacher-source cached"]
    return [f"--batch-size {least.batch_size}", "--gradient-checkpointing", *cached]


def _held(teacher: ModelSizes, config: TrainingPlan) -> str:
    """In what the teacher is held."""
    source = config.teacher_source
    known = source == "cached" or source in teacher.weight_bytes
    return source if known else f"bf16, since quantize has no {source} of its architecture"


def _disk_figures(student: ModelSizes, config: TrainingPlan, tokens: float) -> tuple[Figure, ...]:
    cache = None
    why = "the teacher is live: nothing is cached"
    if config.teacher_source == "cached" and student.kv_cache is not None:
        per_token = cache_bytes_per_token(student.vocab_size)
        cache = teacher_cache_bytes(per_token, tokens)
        why = f"at most {per_token:g} bytes per token before compression, every token seen once"
    whole = checkpoint_bytes(student.parts.total)
    return (
        _figure("teacher_cache_bytes", cache, "bytes", why),
        _figure("checkpoint_bytes", whole, "bytes", f"{CHECKPOINTS} checkpoints of 12 bytes per parameter"),
    )


def _time_figures(
    teacher: ModelSizes, student: ModelSizes, config: PlanConfig, hardware: Hardware, utilisation: Figure, tokens: float
) -> tuple[Figure, ...]:
    training = config.training
    flops = training_flops(teacher, student, training, tokens)

    def seconds(share: float | None) -> float | None:
        return None if share is None else training_seconds(flops, hardware, share)

    def cost(time: float | None) -> float | None:
        price = hardware.price_per_hour
        return None if time is None or price is None else dollars(time, price)

    values = [seconds(share) for share in (utilisation.value, utilisation.high, utilisation.low)]
    share = "no utilisation" if utilisation.value is None else f"a utilisation of {utilisation.value:.3g}"
    again = " and 2 N of the layers again" if training.gradient_checkpointing else ""
    why = "FLOPs over the peak, without validations and checkpoints, at "
    costs = "hours x --price-per-hour" if hardware.price_per_hour else "no price: none is assumed. Add --price-per-hour"
    return (
        _figure(
            "flops",
            flops,
            "FLOP",
            f"6 N of the student{again}, 2 N of the teacher, and attention, per token; N are the entries of all "
            "matrices with the head, without looked-up embeddings (arXiv 2204.02311, appendix B)",
        ),
        _figure("seconds", values[0], "s", f"{why}{share}: {utilisation.source}", spread=(values[1], values[2])),
        _figure(
            "cost_usd",
            cost(values[0]),
            "USD",
            costs if values[0] is not None else "the time is not known",
            spread=(cost(values[1]), cost(values[2])),
        ),
    )
