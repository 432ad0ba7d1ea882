"""What a vLLM server is asked for, as the words of its command line and its environment: pure functions."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from distill_eval.errors import UsageError, require
from distill_eval.record import record
from distill_eval.serving.gate import KEY, Gate

LOOPBACK = "127.0.0.1"
GIB = 1 << 30
_SPARE = 1.25
"""Keys and values of the longest sequence, and a quarter more for those beside it."""
OWN_KEY = "DISTILL_EVAL_API_KEY"
"""Where we find the key that requests must carry; a server finds it in KEY: not on its command line, which all users
can read."""
_GATE = f"{Gate.__module__}.{Gate.__qualname__}"
"""Asks for the key where vLLM itself does not."""
_NOT_INHERITED = (KEY, OWN_KEY, "VLLM_TARGET_DEVICE")
"""Requests carry the key that was asked for or none, and the device is the one that was asked for."""
_EVERYWHERE = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}
"""How this machine reaches a server that listens on all of its addresses."""


@record
class ServeConfig:
    """One model behind vLLM's OpenAI-compatible interface."""

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
    kv_cache_bytes: int | None = None
    """For keys and values; `None`: 1 GiB on a CPU, and what is free on a GPU."""
    max_num_seqs: int | None = None
    """Most requests that share a step; here and below `None` is vLLM's own default."""
    max_num_batched_tokens: int | None = None
    """Most tokens of a step."""
    gpu_memory_utilization: float | None = None
    """Share of a GPU's memory that the server takes."""
    generation_config: str = "vllm"
    """`vllm`: the folder's own penalties are not for a measurement (its end-of-text tokens are honored nevertheless);
    `auto`: requests that say nothing get what the folder says."""
    host: str = LOOPBACK
    """Where it listens."""
    api_key: str | None = field(default=None, repr=False)
    """What requests must carry; `None`: nothing."""
    extra: tuple[str, ...] = ()
    """Further words of vLLM's command line; the last word on an option counts."""

    def __post_init__(self) -> None:
        require(0 < self.port < 1 << 16, f"port {self.port}: expected 1 to 65535")
        require(self.max_model_len >= 2, f"max_model_len {self.max_model_len}: expected 2 or more")

    @property
    def address(self) -> str:
        """Where it answers on this machine, without a path."""
        host = _EVERYWHERE.get(self.host, self.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def is_cpu(self) -> bool:
        """Whether it runs without a GPU."""
        return self.device.partition(":")[0] == "cpu"


def argv(config: ServeConfig) -> list[str]:
    """The command that starts the server; `python -m` works where vLLM's distribution has another name, too."""
    words = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    room = config.kv_cache_bytes or (GIB if config.is_cpu else None)
    options = {
        "model": config.model,
        "served-model-name": config.served_name,
        "host": config.host,
        "port": config.port,
        "dtype": config.dtype,
        "max-model-len": config.max_model_len,
        "seed": config.seed,
        "generation-config": config.generation_config,
        "kv-cache-memory-bytes": room,
        "max-num-seqs": config.max_num_seqs,
        "max-num-batched-tokens": config.max_num_batched_tokens,
        "gpu-memory-utilization": config.gpu_memory_utilization,
    }
    for name, value in options.items():
        words += [] if value is None else [f"--{name}", str(value)]
    switches = {"enforce-eager": config.eager, "trust-remote-code": config.trust_remote_code}
    words += [f"--{name}" for name, is_on in switches.items() if is_on]
    words.append("--enable-prefix-caching" if config.prefix_caching else "--no-enable-prefix-caching")
    words += [] if config.api_key is None else ["--middleware", _GATE]
    return [*words, *config.extra]


def environment(config: ServeConfig, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that the server runs with; what the user set stays, but for the device and keys to servers.

    A user's VLLM_CPU_KVCACHE_SPACE stays too, and vLLM holds it above --kv-cache-memory-bytes.

    Raises:
        UsageError: the device is not among those that the user made visible.
    """
    number, device = config.device.partition(":")[2], dict[str, str]()
    if config.is_cpu:
        device = {"VLLM_TARGET_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif number:
        device["CUDA_VISIBLE_DEVICES"] = _visible(int(number), inherited.get("CUDA_VISIBLE_DEVICES"))
    defaults = {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    kept = {name: value for name, value in inherited.items() if name not in _NOT_INHERITED}
    key = {} if config.api_key is None else {KEY: config.api_key}
    return {**defaults, **kept, **device, **key}


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


def token_bytes(config: Mapping[str, Any], dtype: str) -> int:
    """Bytes of one token's keys and values, in all layers; of layers with a sliding window, more than they take.

    Args:
        config: The model's config.json, of its text part where it has several.
        dtype: That the model is run in.
    """
    num_bytes = 4 if dtype == "float32" else 2
    queries = int(config.get("num_attention_heads") or config.get("n_head") or 1)
    width = int(config.get("hidden_size") or config.get("n_embd") or 0)
    size = int(config.get("head_dim") or width // queries)
    layers = int(config.get("num_hidden_layers") or config.get("n_layer") or 0)
    heads = config.get("num_key_value_heads") or queries
    in_all = sum(map(int, heads)) if isinstance(heads, list) else layers * int(heads)
    return 2 * in_all * size * num_bytes


def kv_cache_bytes(config: Mapping[str, Any], max_model_len: int, dtype: str) -> int:
    """Room for the keys and values of one sequence of full length, and some beside it; at least 1 GiB.

    Args:
        config: As for `token_bytes`.
        max_model_len: Tokens of a sequence.
        dtype: That the model is run in.
    """
    return max(GIB, math.ceil(_SPARE * token_bytes(config, dtype) * max_model_len))
