"""Where a model runs, and in which of several processes."""

from __future__ import annotations

import os

from distill_eval.errors import UsageError


def is_main_process() -> bool:
    """False in all but one of the processes that `accelerate launch` or torchrun start together."""
    return os.environ.get("RANK", "0") == "0"


def choose_device(device: str) -> str:
    """`cpu` or `cuda[:n]` for what was asked (`auto` takes CUDA where there is one).

    Raises:
        UsageError: CUDA was asked for and is not there, or the name is unknown.
    """
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise UsageError(f"--device {device!r}: expected auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(f"--device {device}: no CUDA here (torch {torch.__version__}). Type --device cpu")
    if number and int(number) >= torch.cuda.device_count():
        raise UsageError(f"--device {device}: there are {torch.cuda.device_count()} CUDA devices, numbered from 0")
    return device
