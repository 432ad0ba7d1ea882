"""When requests are sent: offsets from the window's begin, drawn before it opens. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distill_eval.errors import require
from distill_eval.schema.timing import Load, Prompt


def offsets(load: Load, prompts: Sequence[Prompt], seed: int) -> tuple[float, ...] | None:
    """Seconds from the window's begin at which each prompt is sent; `None` for a closed loop, which has no schedule.

    Gaps of an open loop are drawn from a gamma distribution with mean 1 / rate and shape `burstiness` (1: Poisson), the
    first request comes after the first gap, and all are stretched alike so that the last comes at num / rate. This is
    what `vllm bench serve` does (vllm/benchmarks/serve.py, get_request): a few requests would otherwise have another
    rate with each seed. The schedule depends on the load, the number of prompts and the seed alone.

    Raises:
        UsageError: a trace without times, or with times below 0.
    """
    num = len(prompts)
    if load.kind == "closed":
        return None
    if load.kind == "offline" or num == 0:
        return (0.0,) * num
    if load.arrival == "trace":
        return _of_trace(prompts)
    if load.request_rate is None:  # `Load` refuses it; for the type checker
        raise ValueError("an open load has a request rate")
    times = np.cumsum(_gaps(load, num, seed))
    return tuple(float(time) for time in times * (num / load.request_rate / times[-1]))


def _gaps(load: Load, num: int, seed: int) -> np.typing.NDArray[np.float64]:
    """Up to their scale."""
    if load.arrival == "constant":
        return np.ones(num)
    shape = load.burstiness if load.arrival == "gamma" else 1.0
    gaps = np.random.default_rng(seed).gamma(shape, size=num)
    # A very small shape draws gaps that are 0 in double precision; at least one must not be, to be stretched.
    return gaps if gaps.sum() > 0 else np.eye(1, num)[0]


def _of_trace(prompts: Sequence[Prompt]) -> tuple[float, ...]:
    times = [prompt.offset_s for prompt in prompts if prompt.offset_s is not None]
    without = len(prompts) - len(times)
    require(without == 0, f"--arrival trace: {without} of {len(prompts)} prompts have no time. Type --arrival poisson")
    require(min(times) >= 0, f"--arrival trace: a prompt is sent {min(times):g} s after the begin, expected 0 or more")
    return tuple(times)
