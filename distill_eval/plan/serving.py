"""What serving a model costs at best: a roofline of memory bandwidth and peak FLOP/s that no system reaches.

After Williams et al. 2009 (Roofline, CACM 52(4)): a step takes as long as the longer of its arithmetic at the peak and
of its bytes at full bandwidth. docs/metrics.md has the formulas.
"""

from __future__ import annotations

from typing import NamedTuple

from distill_eval.plan.config import PlanConfig, ServingLoad
from distill_eval.plan.flops import attention_flops, head_parameters, matrix_parameters
from distill_eval.schema.plan import Figure, Hardware, ModelSizes, ServingPlan

MEMORY_SHARE = 0.9
"""Of the devices' memory that a server fills with weights and KV cache; vLLM's --gpu-memory-utilization is as much."""
TEACHER_DTYPES, STUDENT_DTYPES = ("bf16",), ("bf16", "int8", "int4")
BEST = "a bound that no system reaches"


class Roofline(NamedTuple):
    """What all devices together compute and read in a second."""

    flops: float
    bandwidth: float

    def seconds(self, flops: float, num_bytes: float) -> float:
        """Of a step: the longer of both."""
        return max(flops / self.flops, num_bytes / self.bandwidth)


def serving_plans(
    teacher: ModelSizes, student: ModelSizes, config: PlanConfig, hardware: Hardware
) -> tuple[ServingPlan, ...]:
    """Teacher and student at each number of requests; the student in int8 and int4 too."""
    load = config.serving
    pairs = [(teacher, dtype) for dtype in TEACHER_DTYPES] + [(student, dtype) for dtype in STUDENT_DTYPES]
    return tuple(
        serving_plan(sizes, dtype, load, num_requests, hardware)
        for num_requests in load.concurrency
        for sizes, dtype in pairs
        if dtype in sizes.weight_bytes
    )


def serving_plan(
    sizes: ModelSizes, dtype: str, load: ServingLoad, num_requests: int, hardware: Hardware
) -> ServingPlan:
    """One model at one load, its weights and requests split over all devices at no cost."""
    found = speeds(sizes, dtype, load, num_requests, hardware)
    unserved = None if found.fits else _unserved(sizes.weight_bytes[dtype], served_memory(hardware))
    return ServingPlan(
        model=sizes.name,
        dtype=dtype,
        num_requests=num_requests,
        input_len=load.input_len,
        output_len=load.output_len,
        max_requests=found.max_requests,
        **_figures(found, hardware.price_per_hour, unserved, num_requests),
    )


class Speeds(NamedTuple):
    """Of one model at one load, in seconds; `None` where it does not fit, or writes no tokens."""

    fits: bool
    """The weights and one request."""
    max_requests: int | None
    at_once: int
    """Requests that are served together: as many as are asked for, or as the memory holds."""
    ttft: float | None
    tpot: float | None
    throughput: float | None
    """Output tokens per second of all requests."""


def speeds(sizes: ModelSizes, dtype: str, load: ServingLoad, num_requests: int, hardware: Hardware) -> Speeds:
    """The roofline of one model at one load."""
    from distill_eval.plan.sizes import max_requests

    memory = served_memory(hardware)
    most = max_requests(sizes, dtype, num_tokens=load.input_len + load.output_len, memory_bytes=memory)
    if sizes.weight_bytes[dtype] > memory or most == 0:
        return Speeds(False, most, num_requests, None, None, None)
    roofline = Roofline(hardware.flops * hardware.num_devices, hardware.bandwidth * hardware.num_devices)
    ttft = prompt_seconds(sizes, dtype, load.input_len, 1, roofline)
    if most is None:
        return Speeds(True, most, num_requests, ttft, None, None)
    at_once = min(num_requests, most)
    tpot = token_seconds(sizes, dtype, load, at_once, roofline)
    prompts = prompt_seconds(sizes, dtype, load.input_len, at_once, roofline)
    throughput = at_once * load.output_len / (prompts + (load.output_len - 1) * tpot)
    return Speeds(True, most, at_once, ttft, tpot, throughput)


def served_memory(hardware: Hardware) -> float:
    """Bytes of all devices that weights and KV cache may fill."""
    return MEMORY_SHARE * hardware.memory_bytes * hardware.num_devices


def dollars_per_million(price_per_hour: float, throughput: float) -> float:
    """Of output tokens."""
    return price_per_hour / 3600 / throughput * 1e6


def prompt_seconds(sizes: ModelSizes, dtype: str, length: int, num_prompts: int, roofline: Roofline) -> float:
    """Of reading prompts together: causal attention alone, and the head at their last tokens."""
    layers = 2.0 * (matrix_parameters(sizes) - head_parameters(sizes))
    flops = num_prompts * (length * (layers + attention_flops(sizes, length) / 2) + 2.0 * head_parameters(sizes))
    return roofline.seconds(flops, read_bytes(sizes, dtype))


def token_seconds(sizes: ModelSizes, dtype: str, load: ServingLoad, num_requests: int, roofline: Roofline) -> float:
    """Of one token for every request, in the middle of its answer."""
    assert sizes.kv_cache is not None
    context = load.input_len + load.output_len // 2
    flops = num_requests * (2.0 * matrix_parameters(sizes) + attention_flops(sizes, context))
    return roofline.seconds(flops, read_bytes(sizes, dtype) + num_requests * sizes.kv_cache.num_bytes(context))


def read_bytes(sizes: ModelSizes, dtype: str) -> int:
    """Weights that a step reads whole: all, but for embeddings that are only looked up in."""
    tied = sizes.kv_cache is not None and not sizes.parts.head
    return sizes.weight_bytes[dtype] - (0 if tied else 2 * sizes.parts.embeddings)


def _unserved(weights: int, memory: float) -> str:
    """Why there is nothing to say."""
    return (
        f"{weights / 1e9:,.1f} GB of weights and one request do not fit in {memory / 1e9:,.1f} GB, "
        f"{MEMORY_SHARE:.0%} of the memory: take more devices, e.g. --hardware 8xA100-80GB"
    )


def _figures(found: Speeds, price: float | None, unserved: str | None, num_requests: int) -> dict[str, Figure]:
    """By the fields of a `ServingPlan`."""
    _, _, at_once, ttft, tpot, throughput = found
    none = unserved or "a classifier, or another model without a cache of keys and values, writes no tokens"
    fewer = f"; the memory holds {at_once} of the {num_requests} requests at once" if at_once < num_requests else ""
    cost = None if throughput is None or price is None else dollars_per_million(price, throughput)
    longer = f"the longer of FLOPs at the peak and of the weights' and caches' bytes read; {BEST}"
    priced = "no price: none is assumed. Add --price-per-hour" if price is None else f"price over throughput; {BEST}"

    def figure(name: str, value: float | None, unit: str, source: str) -> Figure:
        return Figure(name=f"serving.{name}", value=value, unit=unit, basis="estimate", source=source)

    return {
        "ttft_ms": figure(
            "ttft_ms",
            None if ttft is None else 1e3 * ttft,
            "ms",
            unserved or f"of one prompt alone: the longer of its FLOPs at the peak and the weights' bytes read; {BEST}",
        ),
        "tpot_ms": figure(
            "tpot_ms", None if tpot is None else 1e3 * tpot, "ms", none if tpot is None else f"{longer}{fewer}"
        ),
        "throughput": figure(
            "throughput",
            throughput,
            "tokens/s",
            none if throughput is None else f"answers over prompts and tokens in turn; {BEST}{fewer}",
        ),
        "cost_per_million": figure("cost_per_million", cost, "USD", none if throughput is None else priced),
    }
