"""The command line of `distill-eval bench`."""

from __future__ import annotations

import math
from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from distill_eval.bench.prompt_config import PromptConfig
from distill_eval.engine import Dtype
from distill_eval.errors import UsageError, require, unknown
from distill_eval.record import record
from distill_eval.schema.model import ModelRef
from distill_eval.schema.timing import Arrival, Load
from distill_eval.serving.config import OWN_KEY

ENGINES = ("auto", "vllm", "hf", "onnx")
DEFAULT_CONCURRENCY = ("1", "4", "16")
GOOD_SHARE = 0.95
SWEEP_S = 20.0
"""What a rate of a sweep is held for, at least: a burst of a few requests is no rate."""
SWEEP_PROMPTS = 32
"""And for so many requests, of which one more or less is not the share that is asked for."""


@record
class LoadConfig:
    """How requests are sent; without any of these, closed loops of 1, 4 and 16 streams."""

    concurrency: tuple[str, ...] = ()
    """Closed loops of so many streams, each of which sends its next request when the last is answered."""
    request_rate: tuple[str, ...] = ()
    """Open loops of so many requests per second, sent on time whatever was answered."""
    arrival: Arrival = "poisson"
    """Times between requests of an open loop: poisson, constant, gamma, or trace (those of --dataset-name trace)."""
    burstiness: float = 1.0
    """Shape of --arrival gamma: 1 is Poisson, below 1 comes in bursts, above 1 is more even."""
    offline: bool = False
    """All requests at once: the throughput without regard to latency."""
    sweep: bool = False
    """Search the highest request rate at which --goodput-share of the requests keep --goodput."""
    goodput: tuple[str, ...] = ()
    """Limits in milliseconds that a good request keeps, e.g. ttft:500,tpot:50; also e2el."""
    goodput_share: float = GOOD_SHARE
    """Share of the requests that must be good for --sweep."""
    ignore_eos: Literal["yes", "no", "both"] = "yes"
    """yes: answers have the full length, so that all models do the same work; no: models stop by themselves."""

    def __post_init__(self) -> None:
        for number in self.concurrency:
            require(_is_count(number), f"--concurrency {number}: expected 1 or more, e.g. 1,4,16")
        for rate in self.request_rate:
            _rate(rate)
        require(
            0 < self.burstiness < math.inf and (self.burstiness == 1 or self.arrival == "gamma"),
            f"--burstiness {self.burstiness:g}: expected a number above 0, together with --arrival gamma",
        )
        require(
            not (self.request_rate and self.arrival == "trace"),
            "--arrival trace has times of its own: leave --request-rate out",
        )
        require(0 < self.goodput_share <= 1, f"--goodput-share {self.goodput_share:g}: expected above 0, at most 1")
        require(bool(self.goodput) or not self.sweep, "--sweep needs limits, e.g. --goodput ttft:500,tpot:50")
        require(self.sweep or self.goodput_share == GOOD_SHARE, "--goodput-share belongs to --sweep")
        require(
            not self.sweep or (self.arrival != "trace" and self.ignore_eos != "both"),
            "--sweep chooses the rates: --arrival poisson, constant or gamma, and --ignore-eos yes or no",
        )
        require(
            self.arrival in ("poisson", "trace") or bool(self.request_rate) or self.sweep,
            f"--arrival {self.arrival} belongs to --request-rate or --sweep",
        )

    @property
    def loads(self) -> tuple[Load, ...]:
        """In the order in which they are measured."""
        asked = self.request_rate or self.offline or self.sweep or self.arrival == "trace"
        streams = self.concurrency or (() if asked else DEFAULT_CONCURRENCY)
        found: list[Load] = []
        for ignore_eos in {"yes": (True,), "no": (False,), "both": (True, False)}[self.ignore_eos]:
            found += [Load(kind="closed", concurrency=int(num), ignore_eos=ignore_eos) for num in streams]
            found += [self.open_load(_rate(rate), ignore_eos) for rate in self.request_rate]
            if self.arrival == "trace":
                found.append(Load(kind="open", arrival="trace", ignore_eos=ignore_eos))
            if self.offline:
                found.append(Load(kind="offline", ignore_eos=ignore_eos))
        return tuple(dict.fromkeys(found))

    def open_load(self, rate: float, ignore_eos: bool | None = None) -> Load:
        """An open loop of this rate."""
        return Load(
            kind="open",
            request_rate=rate,
            arrival=self.arrival,
            burstiness=self.burstiness,
            ignore_eos=self.ignore_eos != "no" if ignore_eos is None else ignore_eos,
        )


@record
class BenchConfig:
    """How fast models answer under load, each on the engine that serves it, measured in turn."""

    model: tuple[str, ...] = ()
    """Models to measure: Hub names or folders; the first is the baseline of speedups (default: the teacher and the
    students of the newest run below this folder)."""
    output_dir: Path = field(default_factory=lambda: Path("bench"))
    """Where bench.json, bench.md, timings.parquet and the servers' logs go."""
    gpu: bool = False
    """Run on CUDA, and refuse where there is none."""
    cpu: bool = False
    """Run on the CPU (vLLM's CPU build), also where there is a GPU."""
    engine: tuple[str, ...] = ("auto",)
    """What runs each model: vllm, hf (transformers), onnx, or auto; one for all, or one per model in order."""
    endpoint: tuple[str, ...] = ()
    """Servers that run already, one for each model instead of an engine, e.g. http://127.0.0.1:8000."""
    api_key_variable: str = OWN_KEY
    """Variable of the environment that holds the key of --endpoint, where it wants one; no other key is sent to it."""
    tokenizer: str | None = None
    """Of the model at --endpoint: Hub name or folder (default: the model's name there)."""
    api: Literal["completions", "chat"] = "completions"
    """Interface of the server: /v1/completions or /v1/chat/completions."""
    load: LoadConfig = field(default_factory=LoadConfig)
    prompts: PromptConfig = field(default_factory=PromptConfig)
    num_prompts: int | None = None
    """Requests per measurement (default: 16, and at least 4 for each stream)."""
    repeats: int = 5
    """How often everything is measured, models in turn; speedups have intervals from 3 on."""
    prefix_caching: Literal["off", "on", "both"] = "off"
    """Prefix cache of vLLM; both measures each model with and without."""
    enforce_eager: bool = False
    """Have vLLM run models without compiling them: servers start sooner, and are slower than deployed ones."""
    dtype: Dtype = "auto"
    """What models are run in; auto is that of their files."""
    max_model_len: int | None = None
    """Context length of the servers (default: what the prompts and answers need)."""
    timeout: float = 600.0
    """Seconds after which a request is given up, and counted as cancelled."""
    max_tries: int = 1
    """Tries of a request that the server refuses as busy."""
    servers: Literal["auto", "together", "in-turn"] = "auto"
    """together: all servers run, one is loaded at a time; in-turn: each is started for its turn of each repeat; auto:
    together if memory allows."""
    seed: int = 0
    """Of prompts and schedules."""
    batch_size: tuple[str, ...] = ("1", "8", "32")
    """Texts at once, for classifiers and encoders."""
    from_timings: Annotated[Path | None, arg(name="from")] = None
    """Compute everything again from this timings.parquet, and measure nothing."""

    def __post_init__(self) -> None:
        for name in self.model:
            ModelRef.parse(name)
        require(all(self.model), f"--model {','.join(self.model)!r}: expected models, e.g. A,B")
        require(not (self.gpu and self.cpu), "--gpu and --cpu: one of both")
        for name in self.engine:
            if name not in ENGINES:
                unknown("--engine", name, ENGINES)
        trace = self.prompts.dataset_name == "trace"
        require(
            self.load.arrival != "trace" or trace, "--arrival trace needs --dataset-name trace, which has the times"
        )
        require(
            not self.endpoint or (self.engine, self.prefix_caching, self.servers) == (("auto",), "off", "auto"),
            "--endpoint: the server runs already, so --engine, --prefix-caching and --servers are its owner's",
        )
        require(
            len(self.engine) in (1, len(self.model) or len(self.engine)),
            f"--engine has {len(self.engine)} names and --model {len(self.model)}: expected one for all, or one each",
        )
        require(
            not self.endpoint or len(self.endpoint) in (1, max(1, len(self.model))),
            f"--endpoint has {len(self.endpoint)} addresses and --model {len(self.model)} names: expected one each",
        )
        for number in self.batch_size:
            require(_is_count(number), f"--batch-size {number}: expected 1 or more, e.g. 1,8,32")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for option, value, least in (
            ("--num-prompts", self.num_prompts, 1),
            ("--repeats", self.repeats, 1),
            ("--max-tries", self.max_tries, 1),
            ("--max-model-len", self.max_model_len, 2),
            ("--seed", self.seed, 0),
        ):
            require(value is None or value >= least, f"{option} {value}: expected {least} or more")
        require(0 < self.timeout < math.inf, f"--timeout {self.timeout:g}: expected seconds above 0")

    def num_prompts_of(self, load: Load, *, is_sweep: bool = False) -> int:
        """Requests of one measurement."""
        if is_sweep and load.request_rate is not None:
            return max(self.num_prompts or SWEEP_PROMPTS, math.ceil(SWEEP_S * load.request_rate))
        return self.num_prompts or max(16, 4 * (load.concurrency or 1))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise UsageError(f"--request-rate {text}: expected requests per second above 0, e.g. 0.5,1,2")
    return value
