"""What a vLLM server is asked for, as the words of its command line and its environment: pure functions."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_eval.errors import UsageError, require
from distill_eval.record import record

LOOPBACK = "127.0.0.1"
GIB = 1 << 30
_SPARE = 1.25
"""Keys and values of the longest sequence, and a quarter more for those beside it."""
_NOT_INHERITED = ("VLLM_API_KEY", "VLLM_TARGET_DEVICE")
"""Our requests carry no key, and the device is the one that was asked for."""


@record
class ServeConfig:
    """One model behind vLLM's OpenAI-compatible interface, on this machine alone."""

    model: Path
    """A model folder."""
    served_name: str
    """What requests call it."""
    port: int
    max_model_len: int
    """Tokens of prompt and answer together."""
    dtype: str = "auto"
    seed: int = 0
    device: str = "cpu"
    """`cpu` or `cuda[:n]`."""
    eager: bool = False
    """Start without compiling the model, which takes a minute or more on a CPU."""
    prefix_caching: bool = True
    trust_remote_code: bool = False
    kv_cache_bytes: int = GIB
    """For keys and values on a CPU; on a GPU vLLM takes what is free."""

    def __post_init__(self) -> None:
        require(0 < self.port < 1 << 16, f"port {self.port}: expected 1 to 65535")
        require(self.max_model_len >= 2, f"max_model_len {self.max_model_len}: expected 2 or more")

    @property
    def address(self) -> str:
        """Where it answers, without a path."""
        return f"http://{LOOPBACK}:{self.port}"


def argv(config: ServeConfig) -> list[str]:
    """The command that starts the server; `python -m` works where vLLM's distribution has another name, too."""
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    options = {
        "model": str(config.model),
        "served-model-name": config.served_name,
        "host": LOOPBACK,
        "port": str(config.port),
        "dtype": config.dtype,
        "max-model-len": str(config.max_model_len),
        "seed": str(config.seed),
        # The folder's own penalties are not for a measurement; its end-of-text tokens are honored nevertheless.
        "generation-config": "vllm",
    }
    for name, value in options.items():
        words += [f"--{name}", value]
    switches = {"enforce-eager": config.eager, "trust-remote-code": config.trust_remote_code}
    words += [f"--{name}" for name, is_on in switches.items() if is_on]
    return [*words, "--enable-prefix-caching" if config.prefix_caching else "--no-enable-prefix-caching"]


def environment(config: ServeConfig, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that the server runs with; what the user set stays, but for the device and a key to the server.

    Raises:
        UsageError: the device is not among those that the user made visible.
    """
    kind, _, number = config.device.partition(":")
    defaults, device = {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}, dict[str, str]()
    if kind == "cpu":
        defaults["VLLM_CPU_KVCACHE_SPACE"] = str(math.ceil(config.kv_cache_bytes / GIB))  # it takes whole GiB
        device = {"VLLM_TARGET_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif number:
        device["CUDA_VISIBLE_DEVICES"] = _visible(int(number), inherited.get("CUDA_VISIBLE_DEVICES"))
    kept = {name: value for name, value in inherited.items() if name not in _NOT_INHERITED}
    return {**defaults, **kept, **device}


def _visible(number: int, inherited: str | None) -> str:
    """The name of the device that has this number among the visible ones, as torch counts them."""
    if inherited is None:
        return str(number)
    names = [name.strip() for name in inherited.split(",") if name.strip()]
    if number >= len(names):
        raise UsageError(
            f"--device cuda:{number}: CUDA_VISIBLE_DEVICES={inherited} shows {len(names)} devices, numbered from 0"
        )
    return names[number]


def kv_cache_bytes(config: Mapping[str, Any], max_model_len: int, dtype: str) -> int:
    """Room for the keys and values of one sequence of full length, and some beside it; at least 1 GiB.

    Args:
        config: The model's config.json.
        max_model_len: Tokens of a sequence.
        dtype: That the model is run in.
    """
    num_bytes = 4 if dtype == "float32" else 2
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads") or config.get("n_head") or 1
    width = config.get("hidden_size") or config.get("n_embd") or 0
    size = config.get("head_dim") or width // (config.get("num_attention_heads") or config.get("n_head") or 1)
    layers = config.get("num_hidden_layers") or config.get("n_layer") or 0
    return max(GIB, math.ceil(_SPARE * 2 * layers * heads * size * num_bytes * max_model_len))
