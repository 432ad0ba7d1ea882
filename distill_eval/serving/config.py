"""What a vLLM server is asked for, as the words of its command line and its environment: pure functions."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill_eval.errors import require
from distill_eval.record import record

LOOPBACK = "127.0.0.1"
GIB = 1 << 30
_SPARE = 1.25
"""Keys and values of the longest sequence, and a quarter more for those beside it."""


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
    }
    for name, value in options.items():
        words += [f"--{name}", value]
    switches = {"enforce-eager": config.eager, "trust-remote-code": config.trust_remote_code}
    words += [f"--{name}" for name, is_on in switches.items() if is_on]
    return [*words, "--enable-prefix-caching" if config.prefix_caching else "--no-enable-prefix-caching"]


def environment(config: ServeConfig, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables that the server runs with; what the user set of these stays."""
    kind, _, number = config.device.partition(":")
    own = {"VLLM_NO_USAGE_STATS": "1", "PYTHONUNBUFFERED": "1"}
    if kind == "cpu":
        own["VLLM_CPU_KVCACHE_SPACE"] = str(math.ceil(config.kv_cache_bytes / GIB))  # it takes whole GiB
    elif number:
        own["CUDA_VISIBLE_DEVICES"] = number
    return {**own, **inherited}


def kv_cache_bytes(config: Mapping[str, Any], max_model_len: int) -> int:
    """Room for the keys and values of one sequence of full length in 16 bits, and some beside it; at least 1 GiB.

    Args:
        config: The model's config.json.
        max_model_len: Tokens of a sequence.
    """
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads") or config.get("n_head") or 1
    width = config.get("hidden_size") or config.get("n_embd") or 0
    size = config.get("head_dim") or width // (config.get("num_attention_heads") or config.get("n_head") or 1)
    layers = config.get("num_hidden_layers") or config.get("n_layer") or 0
    return max(GIB, math.ceil(_SPARE * 2 * layers * heads * size * 2 * max_model_len))
