"""What a running server says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

CACHE_METRIC = "vllm:cache_config_info"
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class EngineFacts(NamedTuple):
    """What is known of a server's engine; `None` where it does not say."""

    version: str | None = None
    """Of vLLM."""
    kv_cache_tokens: int | None = None
    """Tokens for which there is room for keys and values."""
    kv_blocks: int | None = None
    """Blocks of tokens that this room is divided into."""
    prefix_caching: bool | None = None


def ask(address: str) -> EngineFacts:
    """The facts of the vLLM server at an address; its health, version and metrics need no key."""
    import httpx

    found = []
    with httpx.Client(base_url=address, timeout=10, trust_env=False) as client:
        for path in ("/version", "/metrics"):
            try:
                found.append(client.get(path).text)
            except httpx.HTTPError:
                found.append("")
    version, metrics = found
    return read(version, metrics)


def read(version: str, metrics: str) -> EngineFacts:
    """The facts from what a server answers.

    Args:
        version: To GET /version.
        metrics: To GET /metrics.
    """
    cache = _labels(metrics)
    blocks, size = _number(cache, "num_gpu_blocks"), _number(cache, "block_size")
    tokens = _number(cache, "kv_cache_size_tokens")
    if tokens is None and blocks is not None and size is not None:  # older versions do not count them
        tokens = blocks * size
    caching = cache.get("enable_prefix_caching")
    return EngineFacts(_version(version), tokens, blocks, None if caching is None else caching == "True")


def _labels(metrics: str) -> dict[str, str]:
    line = next((line for line in metrics.splitlines() if line.startswith(CACHE_METRIC + "{")), "")
    return dict(_LABEL.findall(line))


def _number(cache: Mapping[str, str], name: str) -> int | None:
    text = cache.get(name, "")
    return int(text) if text.isdigit() else None


def _version(text: str) -> str | None:
    try:
        said = json.loads(text)
    except json.JSONDecodeError:
        return None
    return str(said["version"]) if isinstance(said, dict) and "version" in said else None
