"""What `distill-eval serve` is asked."""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from distill_eval.engine import Dtype
from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.serving.config import LOOPBACK

_OURS = (
    "--model",
    "--served-model-name",
    "--host",
    "--port",
    "--api-key",
    "--dtype",
    "--max-model-len",
    "--kv-cache-memory-bytes",
    "--max-num-seqs",
    "--max-num-batched-tokens",
    "--gpu-memory-utilization",
    "--trust-remote-code",
    "--enforce-eager",
    "--no-enforce-eager",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
)
"""Options of vLLM that are options here."""
_ELSEWHERE = ("--uds", "--enable-ssl-refresh")
"""Others with which it does not answer where we ask for its health; so do those that begin as the next."""
_SSL = "--ssl-"
_INSTEAD = {"--kv-cache-memory-bytes": "--kv-cache-gb"}


@record
class Tuning:
    """How the engine is set up: what a profile says, or the command line above it."""

    device: str | None = None
    """auto (the default), cpu, cuda or cuda:N."""
    dtype: Dtype | None = None
    """What the model is run in (default: that of its files; bfloat16 for files in float32)."""
    max_model_len: int | None = None
    """Tokens of prompt and answer together (default: what the model reads and memory holds)."""
    kv_cache_gb: float | None = None
    """GiB for keys and values (default: on a CPU worked out from memory and length, on a GPU what is free)."""
    max_num_seqs: int | None = None
    """Most requests that share a step (default: vLLM's)."""
    max_num_batched_tokens: int | None = None
    """Most tokens of a step, prompts of new requests included (default: vLLM's)."""
    gpu_memory_utilization: float | None = None
    """Share of the GPU's memory that the server takes (default: vLLM's)."""
    enable_prefix_caching: Annotated[bool | None, arg(constructor=bool)] = None
    """Keep keys and values of prompts for later ones that begin alike (default: yes)."""
    enforce_eager: Annotated[bool | None, arg(constructor=bool)] = None
    """Do not compile the model: the start is shorter, the answers slower (default: no)."""

    def __post_init__(self) -> None:
        for option, value, least in (
            ("--max-model-len", self.max_model_len, 2),
            ("--max-num-seqs", self.max_num_seqs, 1),
            ("--max-num-batched-tokens", self.max_num_batched_tokens, 1),
        ):
            require(value is None or value >= least, f"{option} {value}: expected {least} or more")
        size, share = self.kv_cache_gb, self.gpu_memory_utilization
        require(size is None or 0 < size < math.inf, f"--kv-cache-gb {size}: expected GiB above 0, e.g. 4")
        require(share is None or 0 < share <= 1, f"--gpu-memory-utilization {share}: expected above 0, at most 1")


@record
class ServeOptions:
    """Serve a model with vLLM's OpenAI-compatible interface, until Ctrl-C."""

    model: str
    """Hub name, NAME@REVISION, or a folder; quantized ones too, as vLLM serves them."""
    profile: str | None = None
    """latency, throughput, cpu, or a TOML file with such settings; options of the command line go before it."""
    served_model_name: str | None = None
    """What requests call the model (default: as --model says it)."""
    host: str = LOOPBACK
    """Where it listens; another address than this machine's own needs a key."""
    port: int = 0
    """0 takes a free one."""
    api_key: str | None = None
    """What requests must carry; better as $DISTILL_EVAL_API_KEY or $VLLM_API_KEY, which no shell history keeps."""
    tuning: Tuning = field(default_factory=Tuning)
    trust_remote_code: FlagCreatePairsOff[bool] = False
    """Run Python code that comes with the model."""
    ready_timeout: float = 900.0
    """Seconds within which the server must be healthy."""
    log: Path | None = None
    """Where the server's output goes (default: serve-PORT.log in this folder)."""
    follow: FlagCreatePairsOff[bool] = False
    """Show the server's output, too."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Print what would be started, and do not start it."""
    extra: Positional[
        Annotated[tuple[Annotated[str, None], ...], arg(metavar="-- ...", help="Further options of vLLM, as they are.")]
    ] = ()

    def __post_init__(self) -> None:
        ModelRef.parse(self.model)
        require(0 <= self.port < 1 << 16, f"--port {self.port}: expected 0 (a free one) to 65535")
        require(0 < self.ready_timeout < math.inf, f"--ready-timeout {self.ready_timeout:g}: expected seconds above 0")
        require(self.api_key != "", "--api-key: expected a key; leave it out for a server without one")
        require(self.served_model_name != "", "--served-model-name: expected a name")
        first = self.extra[0] if self.extra else "--"
        require(first.startswith("-"), f"{first!r}: expected an option, e.g. --model {first}")
        for word in self.extra:
            _require_theirs(word)


def _require_theirs(word: str) -> None:
    """Refuse a word behind -- for which there is an option here, also when it is cut short, as vLLM's parser allows."""
    name = word.partition("=")[0].replace("_", "-")
    if not name.startswith("--") or name == "--":
        return
    ours = next((option for option in _OURS if option.startswith(name)), None)
    require(ours is None, f"{word} behind --: say {_INSTEAD.get(ours or '', ours)} before it")
    is_elsewhere = name.startswith(_SSL) or any(option.startswith(name) for option in (*_ELSEWHERE, _SSL))
    require(
        not is_elsewhere, f"{word} behind --: expected a server at http://HOST:PORT; put a proxy with TLS before it"
    )
