"""The command line of `distill-eval answer`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from distill_eval.errors import require
from distill_eval.record import record
from distill_eval.schema.model import ModelRef


@record
class AnswerConfig:
    """Have a teacher answer prompts, and keep the answers as a data set to train students on."""

    teacher: str
    """Hub name or folder of the teacher; with --endpoint the name by which the server knows it."""
    data: str
    """The prompts: Hub data set (org/name), or a JSONL, JSON, Parquet, CSV or text file (a prompt per line)."""
    data_config: str | None = None
    """Configuration of the Hub data set (default: its only one)."""
    data_split: str | None = None
    """Split of the Hub data set (default: train)."""
    text_column: str = "text"
    """Column of prompts, or of conversations, whose last answer is replaced; `messages` where this one is missing."""
    input_column: str | None = None
    """Column that is appended to the prompt after an empty line, as in Alpaca's instruction and input."""
    max_prompts: int | None = None
    """Answer only the first prompts."""
    system: str | None = None
    """System prompt of every conversation that has none."""
    form: Literal["auto", "chat", "text"] = "auto"
    """chat: by the chat template; text: continue the prompt as it is; auto: chat, but without a template text."""
    num_answers: int = 1
    """Answers per prompt; several need --temperature above 0."""
    max_new_tokens: int = 512
    """Tokens per answer at most."""
    keep_cut_off: bool = False
    """Keep answers that this limit cut off (default: left out, for a student would learn to stop anywhere)."""
    temperature: float = 0.0
    """0: the most likely token each time; above 0: sample at this temperature."""
    top_p: float = 1.0
    """Sample from the most likely tokens that hold this much probability."""
    seed: int = 1234
    """Of the samples."""
    endpoint: str | None = None
    """OpenAI-compatible server, such as vLLM at http://127.0.0.1:8000/v1 (default: transformers, here)."""
    max_concurrency: int = 16
    """Requests under way at once, with --endpoint."""
    timeout_s: float = 600.0
    """Seconds until a request counts as failed and is tried again, with --endpoint."""
    api_key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the server's key, where it wants one, with --endpoint."""
    teacher_dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "nf4"] = "auto"
    """What the teacher computes in, without --endpoint; int8 and nf4 need bitsandbytes."""
    batch_size: int = 8
    """Prompts at once, without --endpoint."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the teacher runs, without --endpoint; auto takes CUDA where there is one."""
    output_dir: Path
    """Where answers.jsonl and answers.json go; an interrupted run goes on with the same command."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.teacher)
        require(bool(self.data.strip()), "--data: expected a Hub data set or a file of prompts")
        for name in ("num_answers", "max_new_tokens", "max_prompts", "max_concurrency", "batch_size"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"--{name.replace('_', '-')} {value}: expected 1 or more")
        require(
            0 <= self.temperature < math.inf,
            f"--temperature {self.temperature:g}: expected 0 or a number above it, e.g. 0.7",
        )
        require(0 < self.top_p <= 1, f"--top-p {self.top_p:g}: expected a share above 0, at most 1")
        require(self.seed >= 0, f"--seed {self.seed}: expected 0 or more")
        require(0 < self.timeout_s < math.inf, f"--timeout-s {self.timeout_s:g}: expected a number above 0")
        require(
            self.num_answers == 1 or self.temperature > 0,
            f"--num-answers {self.num_answers}: at --temperature 0 they would all be the same. Add --temperature 0.7",
        )
        require(
            self.top_p == 1 or self.temperature > 0,
            f"--top-p {self.top_p:g}: at --temperature 0 nothing is sampled. Add --temperature 0.7",
        )
        require(not (self.system and self.form == "text"), "--system: it is part of a chat, so leave --form text out")
        if self.endpoint is not None:
            _check_address(self.endpoint)


def _check_address(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    require(
        parts.scheme in ("http", "https") and bool(parts.hostname),
        f"--endpoint {endpoint}: expected an address such as http://127.0.0.1:8000/v1",
    )
    require(
        parts.username is None and not parts.query,
        "--endpoint holds a user name or a query: put the key into the variable that --api-key-variable names",
    )
