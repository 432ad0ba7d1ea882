"""What runs a model folder, and what every engine can do that gives whole distributions.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

Engine = Literal["hf", "onnx", "vllm"]
EngineChoice = Literal["auto", "hf", "onnx", "vllm"]
"""`auto` is what `guess` says of the folder."""
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""What a model is run in; `auto` is what its files say."""

GENAI_CONFIG = "genai_config.json"
"""ONNX Runtime GenAI's own description of a model, without which it does not run one."""


class LogitModel(Protocol):
    """A loaded causal language model that says what it thinks of every token."""

    tokenizer: Any
    """Of transformers."""
    vocab_size: int
    max_length: int
    """Context length in tokens."""

    def logits(self, ids_T: Sequence[int]) -> Tensor:
        """Logits [T, V] behind each of these tokens, float32 on the CPU."""
        ...

    def greedy(self, ids_T: Sequence[int], num_tokens: int) -> list[int]:
        """The most likely continuation; it ends early behind an end-of-text token, which is included."""
        ...


def graph_files(folder: Path) -> list[Path]:
    """The graphs of an ONNX folder with their external data."""
    return sorted({*folder.glob("*.onnx"), *folder.glob("*.onnx*data")})


def guess(folder: Path) -> Engine:
    """The engine of a model folder: `onnx` for one that ONNX Runtime GenAI runs, else `hf`; `vllm` is asked for."""
    return "onnx" if (folder / GENAI_CONFIG).is_file() else "hf"
