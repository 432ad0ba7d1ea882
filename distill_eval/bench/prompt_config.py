"""The options that say what a benchmark sends; names as in `vllm bench serve` where it has one."""

from __future__ import annotations

from typing import Literal

from distill_eval.errors import require
from distill_eval.record import record

DatasetName = Literal["random", "prefix", "sharegpt", "sonnet", "hf", "trace"]

DEFAULT_RANDOM_INPUT_LEN = 128
DEFAULT_PREFIX_LEN = 256
DEFAULT_SUFFIX_LEN = 128
DEFAULT_NUM_PREFIXES = 1
DEFAULT_SONNET_INPUT_LEN = 550
DEFAULT_SONNET_PREFIX_LEN = 200
DEFAULT_OUTPUT_LEN = 64

_READERS: dict[str, tuple[DatasetName, ...]] = {
    "dataset_path": ("sharegpt", "sonnet", "hf", "trace"),
    "hf_subset": ("hf",),
    "hf_split": ("hf",),
    "text_column": ("hf",),
    "random_input_len": ("random",),
    "random_output_len": ("random",),
    "random_range_ratio": ("random",),
    "prefix_repetition_prefix_len": ("prefix",),
    "prefix_repetition_suffix_len": ("prefix",),
    "prefix_repetition_num_prefixes": ("prefix",),
    "sonnet_input_len": ("sonnet",),
    "sonnet_prefix_len": ("sonnet",),
    "output_len": ("prefix", "sharegpt", "sonnet", "hf", "trace"),
}
"""Which kinds of prompts read an option."""


@record
class PromptConfig:
    """What is sent: the same prompts to every model."""

    dataset_name: DatasetName = "random"
    """random: tokens without sense; prefix: such, behind a common beginning (vLLM: prefix_repetition); sharegpt: a file
    of ShareGPT's form; sonnet: lines of a text file; hf: a data set or file; trace: requests with their times."""
    dataset_path: str | None = None
    """A local file, a file of a Hub data set (ORG/NAME/FILE), or for hf a Hub data set (ORG/NAME)."""
    hf_subset: str | None = None
    """Configuration of the Hub data set (default: its only one)."""
    hf_split: str | None = None
    """Split of the Hub data set (default: train)."""
    text_column: str | None = None
    """Column of texts or conversations (default: the first of text, prompt, messages, conversations, turns); of a
    conversation the first message is sent."""
    random_input_len: int | None = None
    """Tokens of a random prompt (default: 128), those included that begin every text (BOS)."""
    random_output_len: int | None = None
    """Tokens of an answer to a random prompt (default: 64)."""
    random_range_ratio: float | None = None
    """Lengths are drawn evenly from (1 - ratio) to (1 + ratio) times those asked for (default: 0)."""
    prefix_repetition_prefix_len: int | None = None
    """Tokens of the common beginning (default: 256)."""
    prefix_repetition_suffix_len: int | None = None
    """Random tokens behind it (default: 128)."""
    prefix_repetition_num_prefixes: int | None = None
    """Different beginnings, in turn (default: 1)."""
    sonnet_input_len: int | None = None
    """Tokens of a prompt of whole lines, at most (default: 550)."""
    sonnet_prefix_len: int | None = None
    """Of them, those of the lines that all prompts begin with, at most (default: 200)."""
    output_len: int | None = None
    """Tokens of an answer, of all kinds but random (default: what sharegpt and trace say, else 64)."""

    def __post_init__(self) -> None:
        for name, kinds in _READERS.items():
            require(
                getattr(self, name) is None or self.dataset_name in kinds,
                f"{option(name)} belongs to --dataset-name {' or '.join(kinds)}, and this is {self.dataset_name}",
            )
        for name in _READERS:
            value = getattr(self, name)
            least = 0 if name == "sonnet_prefix_len" else 1
            require(
                not isinstance(value, int) or value >= least,
                f"{option(name)} {value}: expected {least} or more tokens"
                if name.endswith("_len")
                else f"{option(name)} {value}: expected {least} or more",
            )
        ratio = self.random_range_ratio
        require(ratio is None or 0 <= ratio < 1, f"--random-range-ratio {ratio}: expected 0 or more, below 1, e.g. 0.5")
        needs_path = self.dataset_name in _READERS["dataset_path"]
        require(
            bool(self.dataset_path) or not needs_path,
            f"--dataset-name {self.dataset_name} needs --dataset-path: {_EXPECTED.get(self.dataset_name, '')}",
        )


_EXPECTED = {
    "sharegpt": "a JSON file of ShareGPT's form",
    "sonnet": "a text file of lines, such as the sonnet.txt of vLLM's benchmarks",
    "hf": "a Hub data set (ORG/NAME), or a JSONL, JSON, Parquet, CSV or text file",
    "trace": "a JSONL or CSV file with a request per line",
}


def option(field: str) -> str:
    """A field as the user types it."""
    return f"--{field.replace('_', '-')}"
