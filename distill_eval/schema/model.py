"""Which model, and the facts about it."""

from __future__ import annotations

from pathlib import Path

from distill_eval.errors import require
from distill_eval.record import record


@record
class ModelRef:
    """A model by Hub name (`org/name` or `org/name@revision`) or by folder; `str(ModelRef.parse(x)) == x`."""

    name: str
    """Hub name, or the path of a folder."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; `None` is the default branch."""

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Read `name` or `name@revision`; an `@` inside of a folder's path, or of a folder that exists, is part of it.

        Raises:
            UsageError: the text is empty, or nothing stands before or after the `@`.
        """
        name, at, revision = text.strip().rpartition("@")
        is_path = name.startswith((".", "/", "~")) and "/" in revision
        if not at or is_path or Path(text.strip()).is_dir():
            name, at, revision = text.strip(), "", ""
        require(
            bool(name) and bool(revision) == bool(at),
            f"{text!r} is not a model: expected NAME, NAME@REVISION or a folder",
        )
        return cls(name=name, revision=revision or None)

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name


@record
class ModelFacts:
    """What a report says about a model, and what identifies its weights."""

    ref: str
    """As the user named it."""
    architecture: str
    """Class name in transformers, e.g. `LlamaForCausalLM`."""
    num_parameters: int | None
    """Of the model before any quantization, shared (tied) ones counted once; `None` where its files do not tell."""
    size_bytes: int
    """Bytes of the weight files on disk."""
    dtype: str
    """The dtype in which it was run, e.g. `float32`."""
    vocab_size: int
    weights_digest: str
    """SHA-256 over the content of config and weight files (not of their paths)."""
    tokenizer_digest: str
    """SHA-256 over the tokenizer's files."""
    max_length: int
    """Context length in tokens at which longer requests are truncated from the left."""
    engine: str = "hf"
    """What ran it: `hf` (transformers), `onnx` (ONNX Runtime GenAI) or `vllm`."""
    quantization: str | None = None
    """How its weights are packed, e.g. `compressed-tensors W8A8`, `bitsandbytes nf4`, `onnx int4`."""
