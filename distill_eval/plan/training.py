"""Operations, time and price of a distillation as `distill` does it; memory and disk are those of `room`.

docs/metrics.md has the formulas, and docs/design/plan.md how far they were from measured runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from distill_eval.plan.activations import Dtype
from distill_eval.plan.config import PlanConfig, TrainingPlan
from distill_eval.plan.flops import step_flops
from distill_eval.plan.hardware import CPU
from distill_eval.plan.pair import UNCOUNTED, Pair, figure, training_dtype
from distill_eval.plan.room import room_figures
from distill_eval.schema.plan import Figure, Hardware, Method, ModelSizes

GPU_SHARE, GPU_LOW, GPU_HIGH = 0.35, 0.26, 0.46
GPU_LEAST = 0.8e9
"""Parameters of the smallest model of which a share was published."""
GPU_SHARE_SOURCE = (
    "assumed; 0.26 to 0.46 were published for 0.8B to 70B parameters on H100 in bfloat16 "
    "(https://github.com/mosaicml/llm-foundry/blob/main/scripts/train/benchmarking/README.md)"
)


def assumed_utilisation(config: TrainingPlan, hardware: Hardware, num_parameters: float) -> Figure:
    """The share of the peak that a training reaches, where nothing was measured.

    Of a processor it is not known: kernels and dtypes differ too much to guess. Of smaller students than those of which
    a share was published it has no spread.

    Args:
        config: May name it.
        hardware: That is trained on.
        num_parameters: Of the student.
    """

    def share(value: float | None, source: str, low: float | None = None, high: float | None = None) -> Figure:
        return figure("utilisation", value, "share", source, spread=(low, high))

    if config.utilisation is not None:
        return share(config.utilisation, "--utilisation as given")
    if hardware.name == CPU:
        return share(None, "not known of a processor: add --calibrate, which measures it in a short training")
    if not has_known_share(num_parameters):
        return share(GPU_SHARE, f"{GPU_SHARE_SOURCE}; smaller students reach less, how much is not known")
    return share(GPU_SHARE, GPU_SHARE_SOURCE, GPU_LOW, GPU_HIGH)


def has_known_share(num_parameters: float) -> bool:
    """Whether a share of the peak was published for students as large."""
    return num_parameters >= GPU_LEAST


def training_figures(
    pairs: Sequence[Pair],
    config: PlanConfig,
    hardware: Hardware,
    utilisation: Figure,
    tokens: float,
) -> tuple[Figure, ...]:
    """Everything that a plan says of the training: memory of one device, FLOPs, time, price and disk.

    Args:
        pairs: The trainings, one after the other; of several, memory is that of the one that takes most.
        config: The plan's.
        hardware: Several devices each hold everything and share the tokens, as `accelerate launch` has it.
        utilisation: Share of the peak FLOP/s, with its spread.
        tokens: That each of them is over.
    """
    each = f", in each of {len(pairs)} trainings" if len(pairs) > 1 else ""
    return (
        figure("tokens", tokens, "tokens", f"--tokens, or what the classic rule asks for{each}"),
        *room_figures(pairs, config, hardware, tokens),
        utilisation,
        *_time_figures(pairs, config, hardware, utilisation, tokens),
    )


def training_flops(
    teacher: ModelSizes, student: ModelSizes, config: TrainingPlan, tokens: float, method: Method
) -> float:
    """Of a whole training, validations aside; from a teacher's texts alone (`response`) it does not answer again."""
    asked = None if method == "response" else teacher
    return tokens * step_flops(asked, student, config.max_length, checkpointing=config.gradient_checkpointing)


def training_seconds(flops: float, hardware: Hardware, dtype: Dtype, share: float) -> float:
    """On all devices, at a share of their peak."""
    return flops / (hardware.peak_flops(dtype) * hardware.num_devices * share)


def dollars(seconds: float, price_per_hour: float) -> float:
    """What they cost."""
    return seconds / 3600 * price_per_hour


def _time_figures(
    pairs: Sequence[Pair], config: PlanConfig, hardware: Hardware, utilisation: Figure, tokens: float
) -> tuple[Figure, ...]:
    training, dtype = config.training, training_dtype(config.training, hardware)
    price = hardware.price_per_hour
    flops = sum(training_flops(pair.teacher, pair.student, training, tokens, config.method) for pair in pairs)

    def seconds(share: float | None) -> float | None:
        return None if share is None else training_seconds(flops, hardware, dtype, share)

    def cost(time: float | None) -> float | None:
        return None if time is None or price is None else dollars(time, price)

    values = [seconds(share) for share in (utilisation.value, utilisation.high, utilisation.low)]
    share = "no utilisation" if utilisation.value is None else f"a utilisation of {utilisation.value:.3g}"
    again = " and 2 N of the layers again" if training.gradient_checkpointing else ""
    why = f"FLOPs over the peak in {dtype}, without {_left_out(config.method)}, at "
    costs = "hours x --price-per-hour" if price else "no price: none is assumed. Add --price-per-hour"
    return (
        figure(
            "flops",
            flops,
            "FLOP",
            f"6 N of the student{again}{_of_teacher(config.method)}, and attention, per token; N are the entries of "
            "all matrices with the head, without looked-up embeddings (arXiv 2204.02311, appendix B)"
            + (f"; of {len(pairs)} trainings together" if len(pairs) > 1 else ""),
        ),
        figure("seconds", values[0], "s", f"{why}{share}: {utilisation.source}", spread=(values[1], values[2])),
        figure(
            "cost_usd",
            cost(values[0]),
            "USD",
            costs if values[0] is not None else "the time is not known",
            spread=(cost(values[1]), cost(values[2])),
        ),
    )


def _left_out(method: Method) -> str:
    besides = UNCOUNTED.get(method)
    return f"validations, checkpoints and what comparing {besides} takes" if besides else "validations and checkpoints"


def _of_teacher(method: Method) -> str:
    return " (what the teacher wrote before is not counted)" if method == "response" else ", 2 N of the teacher"
