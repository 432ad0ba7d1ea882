"""From the options of `serve` to a server's config, by what the model's folder and the machine's memory say."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from distill_eval.device import choose_device
from distill_eval.errors import require
from distill_eval.schema.model import ModelRef
from distill_eval.serving import folder, memory, profile, server, settings
from distill_eval.serving.config import OWN_KEY, ServeConfig
from distill_eval.serving.gate import KEY
from distill_eval.serving.options import ServeOptions, Tuning

SPACE = "VLLM_CPU_KVCACHE_SPACE"
INSTEAD = "measure it in this process: distill-eval bench --engine hf"


class Resolved(NamedTuple):
    """What is started, and lines on what was worked out."""

    config: ServeConfig
    said: tuple[str, ...]


def resolve(options: ServeOptions, variables: Mapping[str, str]) -> Resolved:
    """What the options ask for, made whole; everything that can be refused before the start is.

    Args:
        options: What was asked.
        variables: Of the environment.

    Raises:
        UsageError: an option is not acceptable here.
        ServerError: vLLM is not installed.
        ModelError: the model cannot be had, is not for vLLM, or does not fit in memory.
    """
    key = _key(options, variables)
    tuning = profile.tuned(options.profile, options.tuning)
    device = choose_device(tuning.device or "auto")
    is_cpu = device == "cpu"
    tuning = _with_space(tuning, variables) if is_cpu else tuning
    if not options.dry_run:
        server.require_installed(INSTEAD)
    if options.port:
        server.require_free(options.host, options.port)
    ref = ModelRef.parse(options.model)
    model = folder.describe(folder.locate(ref, trust_remote_code=options.trust_remote_code))
    folder.require_served(ref, model, is_cpu=is_cpu)
    free = memory.available_bytes() if is_cpu else _gpu_bytes(device, tuning.gpu_memory_utilization)
    is_spread = bool(options.extra) and not is_cpu
    settled = settings.settle(model, tuning, is_cpu=is_cpu, free_bytes=free, is_spread=is_spread)
    config = ServeConfig(
        model=model.folder.resolve(),
        served_name=options.served_model_name or options.model,
        port=options.port or server.free_port(),
        max_model_len=settled.max_model_len,
        dtype=settled.dtype,
        device=device,
        eager=bool(tuning.enforce_eager),
        prefix_caching=tuning.enable_prefix_caching is not False,
        trust_remote_code=options.trust_remote_code,
        kv_cache_bytes=settled.kv_cache_bytes,
        max_num_seqs=tuning.max_num_seqs,
        max_num_batched_tokens=tuning.max_num_batched_tokens,
        gpu_memory_utilization=tuning.gpu_memory_utilization,
        generation_config="auto",
        host=options.host,
        api_key=key,
        extra=tuple(options.extra),
    )
    return Resolved(config, settled.said)


def key_variable(options: ServeOptions, variables: Mapping[str, str]) -> str | None:
    """The variable for the key that requests must carry; `None`: there is no key."""
    if options.api_key or variables.get(OWN_KEY):
        return OWN_KEY
    return KEY if variables.get(KEY) else None


def _key(options: ServeOptions, variables: Mapping[str, str]) -> str | None:
    """What requests must carry."""
    name = key_variable(options, variables)
    key = None if name is None else options.api_key or variables[name]
    require(
        key is not None or _is_local(options.host),
        f"--host {options.host} is open to other machines: say a key in ${OWN_KEY} or with --api-key, which requests "
        "must carry, or leave --host out",
    )
    return key


def _is_local(host: str) -> bool:
    """Whether other machines have no way to it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _with_space(tuning: Tuning, variables: Mapping[str, str]) -> Tuning:
    """With the size of the cache that the environment says, which vLLM holds above its command line."""
    space = variables.get(SPACE, "")
    if not space:
        return tuning
    require(space.isdigit() and int(space) > 0, f"{SPACE}={space}: expected whole GiB above 0, e.g. 4")
    require(
        tuning.kv_cache_gb in (None, float(space)),
        f"--kv-cache-gb {tuning.kv_cache_gb}: the environment says {SPACE}={space}, which vLLM takes instead. Unset it",
    )
    return replace(tuning, kv_cache_gb=float(space))


def _gpu_bytes(device: str, share: float | None) -> int:
    """Memory that the server may take of a GPU: its share of the whole, as far as it is free."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return min(int(free), int(total * (share or settings.GPU_SHARE)))
