"""From what was asked for, what the folder says and what memory holds to a server's settings: a pure function."""

from __future__ import annotations

import math
from typing import NamedTuple

from distill_eval.errors import DistillEvalError, ModelError, UsageError, boundary
from distill_eval.serving.config import GIB, token_bytes
from distill_eval.serving.folder import Described
from distill_eval.serving.options import Tuning

PROCESS_BYTES = 2 * GIB
"""What vLLM 0.32's processes take beside weights, keys and values: 2.0 GiB (PSS) with SmolLM2-135M on a CPU."""
GPU_SHARE = 0.92
"""vLLM's default of --gpu-memory-utilization."""
BLOCK = 128
"""Tokens of a block of vLLM's cache on a CPU; a sequence takes whole ones."""
NUM_SEQUENCES = 16
"""Sequences of full length for which there is room by default, where it takes at most half of what is free."""
UNSAID_LENGTH = 2048
"""Where a config does not say how long; vLLM takes the same."""
_SHRINKS = {"float32": "bfloat16", None: "bfloat16"}


class Settings(NamedTuple):
    """What was decided, and what the reader should know of it."""

    dtype: str
    max_model_len: int
    kv_cache_bytes: int | None
    """`None`: a GPU's free memory, as vLLM finds it."""
    said: tuple[str, ...]


def settle(model: Described, tuning: Tuning, *, is_cpu: bool, free_bytes: int, is_spread: bool = False) -> Settings:
    """Settings with which the model starts.

    Args:
        model: What is served.
        tuning: What was asked for.
        is_cpu: Whether it runs on the CPU.
        free_bytes: Memory of the device that nobody uses (on a GPU: what the server may take).
        is_spread: Whether other devices may hold a part, so that what this one does not hold is said, not refused.

    Raises:
        UsageError: what was asked for does not fit the model, or what was asked for does not fit together.
        ModelError: the model does not fit in memory.
    """
    dtype, why = _dtype(model, tuning)
    with boundary(ModelError, f"the configuration in {model.folder} cannot be read"):
        per_token = token_bytes(model.config, dtype)
    doubts = _Doubts(is_spread)
    weights = _loaded_bytes(model, dtype)
    room = free_bytes - weights - PROCESS_BYTES
    asked = None if tuning.kv_cache_gb is None else int(tuning.kv_cache_gb * GIB)
    if room < BLOCK * per_token or room <= 0:
        what = f"not enough memory: {_gib(weights)} for the weights and about {_gib(PROCESS_BYTES)} for vLLM itself, "
        doubts.add(
            ModelError(f"{what}and {_gib(free_bytes)} are free. Free memory, or take a smaller or quantized model")
        )
    elif asked is not None and asked > room:
        most = math.floor(room / GIB * 10) / 10
        doubts.add(
            UsageError(
                f"--kv-cache-gb {tuning.kv_cache_gb:g}: beside {_gib(weights)} of weights and about "
                f"{_gib(PROCESS_BYTES)} of vLLM itself {_gib(room)} are free; type at most {most}"
            )
        )
    length, about_length = _length(model, tuning, per_token, room if asked is None else asked, doubts)
    needed = math.ceil(length / BLOCK) * BLOCK * per_token
    size = asked
    if asked is None and is_cpu:
        size = max(needed, min(room // 2, max(GIB, NUM_SEQUENCES * needed)))
    packed = f"weights: {_gib(model.weight_bytes)}, {model.quantization or 'not quantized'}"
    said = [packed, f"dtype: {dtype}{why}", f"max model length: {length:,} tokens{about_length}"]
    said.append(_about_cache(size, per_token, length))
    return Settings(dtype, length, size, (*said, *doubts.said))


class _Doubts:
    """What does not fit in one device's memory."""

    def __init__(self, is_spread: bool) -> None:
        self._is_spread = is_spread
        self.said: list[str] = []

    def add(self, error: DistillEvalError) -> None:
        """Refuse it, or say it where words of vLLM's may spread the model further.

        Raises:
            DistillEvalError: it is refused.
        """
        if not self._is_spread:
            raise error
        self.said.append(f"tried nevertheless, since words behind -- may change it: {error}")


def _dtype(model: Described, tuning: Tuning) -> tuple[str, str]:
    if tuning.dtype not in (None, "auto"):
        return str(tuning.dtype), ""
    if model.dtype in _SHRINKS:
        what = "the files' float32" if model.dtype else "an unsaid dtype"
        return "bfloat16", f", half of the memory of {what}; type --dtype float32 for full precision"
    return str(model.dtype), ", as the files say"


def _loaded_bytes(model: Described, dtype: str) -> int:
    """Bytes of the weights once loaded; packed ones stay as they are on disk."""
    if model.quantization is not None:
        return model.weight_bytes
    sizes = {"float32": 4}
    return model.weight_bytes * sizes.get(dtype, 2) // sizes.get(model.dtype or "float32", 2)


def _length(model: Described, tuning: Tuning, per_token: int, room: int, doubts: _Doubts) -> tuple[int, str]:
    """Tokens of the longest sequence, and what to say of them."""
    held = room // per_token // BLOCK * BLOCK if per_token and room >= BLOCK * per_token else None
    asked, most = tuning.max_model_len, model.max_length
    if asked is not None:
        if most is not None and asked > most and not model.is_stretched:
            raise UsageError(f"--max-model-len {asked}: the model reads at most {most} tokens; type at most {most}")
        if held is not None and asked > held:
            more = ", or more --kv-cache-gb" if tuning.kv_cache_gb else ""
            what = (
                f"--max-model-len {asked} needs {_gib(asked * per_token)} for keys and values, and there is room for "
            )
            doubts.add(UsageError(f"{what}{_gib(room)}: type at most {held}{more}"))
        return asked, ""
    wanted = most or UNSAID_LENGTH
    if held is not None and wanted > held:
        return held, f", lowered from the model's {wanted:,}: memory has {_gib(room)} for keys and values"
    return wanted, "" if most else " (the config does not say how many)"


def _about_cache(size: int | None, per_token: int, length: int) -> str:
    if size is None:
        return "keys and values: what is free on the GPU"
    if not per_token:
        return f"keys and values: {_gib(size)}"
    tokens = size // per_token // BLOCK * BLOCK
    return f"keys and values: {_gib(size)}, {tokens:,} tokens, {tokens / length:.1f} sequences of full length"


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / GIB:.2f} GiB"
