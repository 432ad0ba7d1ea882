"""Starts what a row of the table needs: a vLLM server, an engine in a process of its own, or a look at an endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from distill_eval.bench.classify import EncoderTarget
from distill_eval.bench.client import HttpTarget
from distill_eval.bench.config import BenchConfig
from distill_eval.bench.endpoint import check
from distill_eval.bench.entries import Entry
from distill_eval.bench.local import LocalTarget, open_local
from distill_eval.bench.pool import Facts, Running
from distill_eval.bench.sent import Sent
from distill_eval.engine.packing import size_bytes
from distill_eval.provenance import engine_version
from distill_eval.schema.timing import Load
from distill_eval.serving import facts as serving_facts
from distill_eval.serving.config import GIB, ServeConfig, kv_cache_bytes
from distill_eval.serving.folder import describe
from distill_eval.serving.log import Hints, excerpt
from distill_eval.serving.memory import Watched, watched
from distill_eval.serving.server import free_port, serve

OVERHEAD = 3 * GIB
"""What a vLLM server on a CPU takes besides weights, keys and values: 2.0 to 2.4 GiB were seen."""
HINTS = Hints(
    length="Lower --max-model-len (now {max_model_len}) or --concurrency, or ask for shorter prompts or answers",
    memory="Free memory, type --servers in-turn, or lower --concurrency or --max-model-len (now {max_model_len})",
    unsupported="vLLM does not serve this model or scheme here: --engine hf runs it in its own process",
)
OPEN_STREAMS = 16
"""For so many requests at once an open load's server has room; more of them wait."""
ENGINE_OVERHEAD = GIB
"""Of an engine in a process of its own, besides the weights."""
GPU_SHARE = 0.9
"""Of a GPU's memory, for all servers together; vLLM's default for one."""


class House(NamedTuple):
    """What all rows are started with."""

    config: BenchConfig
    sent: Sent
    folder: Path
    """For the servers' logs."""
    device: str
    num_together: int
    loads: Sequence[Load]
    say: Callable[[str], None]

    def open(self, row: Entry) -> AbstractContextManager[Running]:
        """Start a row, and end it with the block.

        Raises:
            DistillEvalError: it does not start.
        """
        return {"vllm": self._server, "endpoint": self._endpoint}.get(row.runner, self._engine)(row)

    @contextmanager
    def _server(self, row: Entry) -> Iterator[Running]:
        config = serve_config(self, row)
        self.say(f"{row.name}: vLLM starts")
        log = self.folder / log_name(row.name, "serve")
        with serve(config, log, hints=HINTS, say=self.say) as endpoint, watched(endpoint.pid, self.device) as memory:
            target = HttpTarget(
                endpoint.address, endpoint.model, api=self.config.api, count_tokens=self.sent.count_tokens(row)
            )
            facts = Facts(
                engine="vllm",
                engine_version=endpoint.engine.version,
                device=self.device,
                dtype=endpoint.dtype,
                max_model_len=endpoint.max_model_len,
                start_s=endpoint.start_s,
                weights_bytes=weights_bytes(row),
                rest_bytes=memory.rest.num_bytes,
                kv_cache_tokens=endpoint.engine.kv_cache_tokens,
            )
            yield Running(target, facts, lambda: memory.peak.num_bytes, lambda: _end_of(log))

    @contextmanager
    def _engine(self, row: Entry) -> Iterator[Running]:
        assert row.folder is not None
        engine: Literal["hf", "onnx"] = "onnx" if row.runner == "onnx" else "hf"
        self.say(f"{row.name}: {engine} loads it")
        log, dtype = self.folder / log_name(row.name, "engine"), self.config.dtype
        with (
            open_local(row.folder, engine, name=row.ref, dtype=dtype, device=self.device, log=log) as target,
            watched(target.pid, self.device) as memory,
        ):
            facts = engine_facts(row, self.device, target, memory)
            yield Running(target, facts, lambda: memory.peak.num_bytes, lambda: _end_of(log))

    @contextmanager
    def _endpoint(self, row: Entry) -> Iterator[Running]:
        assert row.address is not None
        key = os.environ.get(self.config.api_key_variable)
        served = check(row.address, row.ref, key)
        target = HttpTarget(
            row.address, served.name, api=self.config.api, key=key, count_tokens=self.sent.count_tokens(row)
        )
        said = serving_facts.ask(row.address)
        facts = Facts(
            "endpoint",
            said.version,
            device="elsewhere",
            max_model_len=served.max_model_len,
            kv_cache_tokens=said.kv_cache_tokens,
            prefix_caching=said.prefix_caching,
        )
        yield Running(target, facts, lambda: None)


def engine_facts(row: Entry, device: str, target: LocalTarget | EncoderTarget, memory: Watched) -> Facts:
    """What is known of a model in a process of its own."""
    return Facts(
        engine=row.runner,
        engine_version=engine_version(row.runner),
        device=device,
        dtype=target.loaded.dtype,
        max_model_len=target.loaded.max_length,
        start_s=target.start_s,
        weights_bytes=weights_bytes(row),
        rest_bytes=memory.rest.num_bytes,
    )


def serve_config(house: House, row: Entry) -> ServeConfig:
    """What a row's server is asked for: the context that the prompts need, and keys and values for all streams."""
    assert row.folder is not None
    config, is_cpu = house.config, house.device == "cpu"
    return ServeConfig(
        model=row.folder.resolve(),
        served_name=row.name,
        port=free_port(),
        max_model_len=house.sent.max_model_len,
        dtype=config.dtype,
        seed=config.seed,
        device=house.device,
        eager=config.enforce_eager,
        prefix_caching=bool(row.prefix_caching),
        kv_cache_bytes=_cache_bytes(house, row) if is_cpu else None,
        gpu_memory_utilization=None if is_cpu else GPU_SHARE / house.num_together,
    )


def _cache_bytes(house: House, row: Entry) -> int:
    """Room for the keys and values of all streams."""
    assert row.folder is not None
    streams = max((load.concurrency or OPEN_STREAMS for load in house.loads), default=OPEN_STREAMS)
    return kv_cache_bytes(describe(row.folder).config, house.sent.max_model_len * streams, house.config.dtype)


def fit_together(house: House, rows: Sequence[Entry], available_bytes: int) -> bool:
    """Whether all servers may run at the same time: asked for, or memory allows it.

    Args:
        house: What they would be started with.
        rows: The models.
        available_bytes: Memory that is free now. On a GPU the servers share its memory, and start together unless asked
            not to.
    """
    if house.config.servers != "auto":
        return house.config.servers == "together"
    if house.device != "cpu":
        return True
    served = [row for row in rows if row.runner == "vllm"]
    servers = sum(weights_bytes(row) + OVERHEAD + _cache_bytes(house, row) for row in served)
    others = sum(weights_bytes(row) + ENGINE_OVERHEAD for row in rows if row.runner in ("hf", "onnx"))
    return servers + others <= available_bytes


def weights_bytes(row: Entry) -> int:
    """Of the row's weight files; 0 at an endpoint."""
    return 0 if row.folder is None else size_bytes(row.folder)


def _end_of(log: Path) -> str:
    return excerpt(log.read_text(encoding="utf-8", errors="replace")) if log.is_file() else ""


def log_name(name: str, what: str) -> str:
    """Of a row's log."""
    kept = "".join(char if char.isalnum() or char in "-_." else "-" for char in name).strip("-.")
    return f"{kept}.{what}.log"
