"""What a plan computes on: a device of the table, of given numbers, or this machine, whose speed is measured."""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from distill_eval.errors import UsageError, nearest, require
from distill_eval.plan.config import HardwarePlan
from distill_eval.schema.plan import Hardware

CPU = "cpu"
"""Name of this machine's processor as hardware; a training on it is in float32, `distill`'s default."""
GIGA, TERA = 1e9, 1e12
_COUNTED = re.compile(r"(?:(\d+)x)?(.+)", re.IGNORECASE)
_GEMM_ROWS = 2048
_COPY_BYTES = 3 << 27
"""384 MiB, more than a cache holds (300 MB in a large server's processor)."""
_SECONDS = 0.5
"""That each speed is measured for."""


class Device(NamedTuple):
    """A row of the table."""

    memory: float
    """GB."""
    tflops: float
    """Dense, in bfloat16, or in float16 where there is no bfloat16."""
    tflops_float32: float
    """Dense, without tensor cores."""
    bandwidth: float
    """GB/s."""
    source: str
    bfloat16: bool = True


@cache
def devices() -> Mapping[str, Device]:
    """The table of hardware.toml, by name."""
    rows = tomllib.loads(files("distill_eval.plan").joinpath("hardware.toml").read_text(encoding="utf-8"))
    return {name: Device(**row) for name, row in rows.items()}


def listing() -> str:
    """The table as text, for `--hardware list`."""
    lines = [f"{'device':<16} {'memory':>8} {'bf16':>13} {'bandwidth':>11}"]
    for name, device in devices().items():
        lines.append(f"{name:<16} {device.memory:>5g} GB {device.tflops:>6g} TFLOP/s {device.bandwidth:>6g} GB/s")
    return "\n".join([*lines, _ADVICE])


_ADVICE = (
    "Several: 8xA100-80GB. This machine: leave --hardware out, or type --hardware cpu. Any other: a name of yours with "
    "--flops TFLOP/s --bandwidth GB/s --memory GB"
)


def find_hardware(config: HardwarePlan, here: Callable[[str | None], Hardware] | None = None) -> Hardware:
    """The hardware that was asked for, with its price.

    Args:
        config: A name, numbers, both, or neither for this machine.
        here: Measures this machine; by default `this_machine`.

    Raises:
        UsageError: the table has no such device, and the numbers of it are not all given.
    """
    found = _named(config, here or this_machine)
    given = {
        "flops": (config.flops, TERA),
        "bandwidth": (config.bandwidth, GIGA),
        "memory_bytes": (config.memory, GIGA),
    }
    numbers: dict[str, Any] = {field: value * unit for field, (value, unit) in given.items() if value is not None}
    if "flops" in numbers:
        numbers["flops_float32"] = None
    if "memory_bytes" in numbers:
        numbers["memory_bytes"] = int(numbers["memory_bytes"])
    source = found.source
    if numbers:
        flags = ", ".join(f"--{field.removesuffix('_bytes')}" for field in numbers if field in given)
        source = f"{flags} as given" + (f"; the rest: {source}" if source else "")
    return replace(found, **numbers, source=source, price_per_hour=config.price_per_hour)


def _named(config: HardwarePlan, here: Callable[[str | None], Hardware]) -> Hardware:
    if config.hardware is None or config.hardware.lower() == CPU:
        return here(config.hardware and CPU)
    match = _COUNTED.fullmatch(config.hardware.strip())
    count, wanted = (match[1], match[2]) if match else (None, config.hardware)
    num_devices = int(count or 1)
    require(num_devices >= 1, f"--hardware {config.hardware}: expected 1 device or more, e.g. 8xA100-80GB")
    by_key = {_key(name): name for name in devices()}
    name = by_key.get(_key(wanted))
    if name is not None:
        device = devices()[name]
        name = name if num_devices == 1 else f"{num_devices}x{name}"
        memory, flops, bandwidth = device.memory * GIGA, device.tflops * TERA, device.bandwidth * GIGA
        return Hardware(
            name=name,
            num_devices=num_devices,
            memory_bytes=int(memory),
            flops=flops,
            bandwidth=bandwidth,
            price_per_hour=None,
            source=device.source,
            flops_float32=device.tflops_float32 * TERA,
            has_bfloat16=device.bfloat16,
        )
    _check_numbers(config, wanted, by_key)
    return Hardware(
        name=config.hardware,
        num_devices=num_devices,
        memory_bytes=0,
        flops=0.0,
        bandwidth=0.0,
        price_per_hour=None,
        source="",
    )


def _check_numbers(config: HardwarePlan, wanted: str, by_key: Mapping[str, str]) -> None:
    """Refuse hardware that is not in the table, where one of its numbers is not given."""
    units = {"flops": "TFLOP/s", "bandwidth": "GB/s", "memory": "GB"}
    missing = [f"--{name} {unit}" for name, unit in units.items() if getattr(config, name) is None]
    require(
        len(missing) in (0, len(units)),
        f"--hardware {config.hardware}: it is not in the table; beside the numbers that are given add "
        f"{' '.join(missing)}",
    )
    if missing:
        _unknown(str(config.hardware), wanted, by_key)


def _unknown(typed: str, wanted: str, by_key: Mapping[str, str]) -> None:
    likely = [name for key, name in by_key.items() if key.startswith(_key(wanted))]
    likely = likely or [by_key[key] for key in nearest(_key(wanted), by_key)]
    hint = f" Did you mean {' or '.join(likely)}?" if likely else ""
    raise UsageError(f"--hardware {typed}: unknown.{hint} Known: {', '.join(by_key.values())}. {_ADVICE}")


def _key(name: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


# ---- this machine


def this_machine(name: str | None = None, *, seconds: float = _SECONDS) -> Hardware:
    """The GPUs of this machine, or its processor: memory as the system says, speed measured in about two seconds.

    Args:
        name: `cpu` takes the processor even where there are GPUs.
        seconds: That each speed is measured for, at least.
    """
    import psutil
    import torch

    if name != CPU and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found, count, memory, device = properties.name, torch.cuda.device_count(), properties.total_memory, "cuda"
    else:
        found, count, memory, device = CPU, 1, psutil.virtual_memory().total, "cpu"
    dtypes = (torch.bfloat16, torch.float32)
    speeds = {str(dtype).removeprefix("torch."): measure_flops(device, dtype, seconds) for dtype in dtypes}
    best = max(speeds, key=lambda dtype: speeds[dtype])
    on_gpu = device == "cuda"
    told = " and ".join(f"{speed / GIGA:,.0f} GFLOP/s in {dtype}" for dtype, speed in speeds.items())
    return Hardware(
        name=found,
        num_devices=count,
        memory_bytes=int(memory),
        flops=speeds[best],
        bandwidth=measure_bandwidth(device, seconds),
        price_per_hour=None,
        source=f"measured here with {torch.get_num_threads()} threads, in seconds that they worked: the best of many "
        f"products of {_GEMM_ROWS} x {_GEMM_ROWS} matrices, {told}, and of copies and sums of {_COPY_BYTES >> 20} MiB",
        flops_float32=speeds["float32"] if on_gpu else None,
        has_bfloat16=not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False),
    )


def measure_flops(device: str, dtype: Any, seconds: float) -> float:
    """FLOP/s of a square matrix product, the best of what the time has room for."""
    import torch

    left, right = (torch.randn(_GEMM_ROWS, _GEMM_ROWS, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * _GEMM_ROWS**3 / _fastest(lambda: torch.mm(left, right, out=out), device, seconds)


def measure_bandwidth(device: str, seconds: float) -> float:
    """Bytes per second of a copy, read and written, or of a sum, read alone: the best of what the time has room for."""
    import torch

    source = torch.ones(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    copied = 2 * _COPY_BYTES / _fastest(lambda: target.copy_(source), device, seconds)
    return max(copied, _COPY_BYTES / _fastest(source.sum, device, seconds))


def _fastest(run: Callable[[], object], device: str, seconds: float) -> float:
    """Seconds of the fastest run, after one that warms up; at least three are timed.

    On a processor those that its threads worked, so that other work on the machine does not count.
    """
    import torch

    on_gpu = device == "cuda"
    wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else (lambda: None)
    clock, share = (time.perf_counter, 1) if on_gpu else (time.process_time, torch.get_num_threads())
    run()
    times: list[float] = []
    ends = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < ends:
        wait()
        began = clock()
        run()
        wait()
        times.append((clock() - began) / share)
    return min(times)
