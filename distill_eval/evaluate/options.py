"""What can be asked of an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from distill_eval.errors import require
from distill_eval.record import record


@record
class EvaluateOptions:
    """How to score: the same for every model of a comparison."""

    tasks: tuple[str, ...]
    """Tasks, groups or tags of lm-eval, comma-separated, e.g. mmlu,lambada_openai; * and ? are wildcards."""
    num_fewshot: int | None = None
    """Examples in front of each question; by default each task's own number."""
    limit: float | None = None
    """Documents per task: a count, or a fraction below 1; by default all."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Run the models in this dtype; auto is what each model's config says."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    batch_tokens: int | None = None
    """Tokens per forward pass; by default chosen for the device."""
    scorer: Literal["prefix", "plain"] = "prefix"
    """prefix computes shared tokens once; plain is lm-eval's own path, row by row."""
    apply_chat_template: bool = False
    """Render the prompts with each model's chat template, few-shot examples as turns."""
    seed: int = 1234
    """Seed of the few-shot sampler, numpy and torch (1234 is lm-eval's default)."""
    include_path: Path | None = None
    """A folder with task files of your own."""
    trust_remote_code: bool = False
    """Let models and data sets run code from the Hub."""
    confirm_run_unsafe_code: bool = False
    """Let tasks run code that the model wrote (humaneval, mbpp)."""

    def __post_init__(self) -> None:
        require(
            bool(self.tasks) and all(self.tasks),
            "--tasks: expected one or more names, e.g. --tasks mmlu,lambada_openai",
        )
        limit = self.limit
        if limit is not None:
            whole = limit >= 1 and limit == int(limit)
            require(
                whole or 0 < limit < 1,
                f"--limit {limit:g}: expected a number of documents, or a fraction between 0 and 1",
            )
        shots = self.num_fewshot
        require(shots is None or shots >= 0, f"--num-fewshot {shots}: expected 0 or more")
        tokens = self.batch_tokens
        require(tokens is None or tokens >= 1, f"--batch-tokens {tokens}: expected 1 or more")
        path = self.include_path
        require(path is None or path.is_dir(), f"--include-path {path}: no such folder")
