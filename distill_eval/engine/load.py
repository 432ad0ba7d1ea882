"""From a model reference to a loaded model, on the engine that runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval import checkpoint
from distill_eval.engine import GENAI_CONFIG, Dtype, Engine, LogitModel, graph_files, guess
from distill_eval.errors import ModelError, UsageError, boundary, require
from distill_eval.schema.model import ModelRef

_SETTINGS = ("config.json", GENAI_CONFIG, "quantization_config.json", "quantize_config.json", "tokenizer*", "vocab.*")


class Facts(NamedTuple):
    """What a model's own description says of it."""

    vocab_size: int
    """Logits per token."""
    max_length: int | None
    """Tokens that it reads at most; `None` where that is not said."""
    dtype: str
    """Of its files; `float32` where that is not said."""


class Found(NamedTuple):
    """A model on disk, and what runs it."""

    ref: ModelRef
    folder: Path
    engine: Engine

    @property
    def weights(self) -> list[Path]:
        """Its weight files."""
        if self.engine != "onnx":
            return checkpoint.weight_files(self.folder)
        return graph_files(self.folder)

    @property
    def files(self) -> list[Path]:
        """All files on which its answers may depend."""
        return sorted({path for pattern in _SETTINGS for path in self.folder.glob(pattern)}.union(self.weights))


def find(ref: ModelRef, engine: Engine | None = None, *, role: str = "model") -> Found:
    """Locate a model with its weights, and choose the engine.

    Args:
        ref: A folder or Hub name.
        engine: Asked for; by default guessed from the folder.
        role: What the model is to the user, for messages.

    Raises:
        UsageError: the engine does not run such a folder, or gives no whole distributions.
        ModelError: the model cannot be had, or lacks weights.
    """
    require(
        engine != "vllm",
        "--engine vllm: its server gives the log-probabilities of a few tokens, and here whole distributions are "
        "compared. Type --engine hf, which runs the same folder",
    )
    folder = checkpoint.locate(ref, checkpoint.SMALL_FILES, role=role)
    guessed = guess(folder)
    if engine is not None and engine != guessed:
        found = f"has no {GENAI_CONFIG}" if engine == "onnx" else "is an exported model"
        raise UsageError(f"--engine {engine}: {folder} {found}. Leave --engine out, or type --engine {guessed}")
    if guessed == "onnx":
        folder = checkpoint.locate(ref, ["*"], role=role)
    else:
        folder = checkpoint.locate_with_weights(ref, checkpoint.SMALL_FILES, role=role)
    return Found(ref, folder, guessed)


def read_facts(found: Found) -> Facts:
    """The facts, before the weights are read.

    Raises:
        ModelError: the description cannot be read.
    """
    with boundary(ModelError, f"cannot read the config of {found.ref} in {found.folder}"):
        if found.engine == "onnx":
            said = json.loads((found.folder / GENAI_CONFIG).read_text(encoding="utf-8"))["model"]
            return Facts(int(said["vocab_size"]), int(said["context_length"]), "float32")
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(found.folder, trust_remote_code=False).get_text_config()
        length = getattr(config, "max_position_embeddings", None)
        dtype = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
        return Facts(int(config.vocab_size), length, dtype)


def check_library(found: Found) -> None:
    """Refuse a model that cannot be loaded here, before anything else is.

    Raises:
        ModelError: a library is missing, or the description cannot be read.
    """
    what = f"cannot load {found.ref} from {found.folder}"
    if found.engine == "onnx":
        from distill_eval.engine import genai

        genai.check_library(found.folder)
        return
    from transformers import AutoConfig

    from distill_eval.engine import hf

    with boundary(ModelError, what):
        config = AutoConfig.from_pretrained(found.folder, trust_remote_code=False)
    hf.check_library(config, what)


def read_tokenizer(found: Found) -> Any:
    """The model's tokenizer.

    Raises:
        ModelError: there is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    with boundary(ModelError, f"cannot load the tokenizer of {found.ref} from {found.folder}"):
        return AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False)


def load(found: Found, *, dtype: Dtype = "auto", device: str = "cpu") -> LogitModel:
    """The loaded model.

    Args:
        found: Where it is.
        dtype: As in `hf.load`; an exported model has its own.
        device: `cpu` or `cuda[:n]`; an exported model runs on the CPU.

    Raises:
        ModelError: it cannot be loaded, or a library is missing.
    """
    if found.engine == "onnx":
        from distill_eval.engine import genai

        return genai.load(found.folder)
    from distill_eval.engine import hf

    return hf.load(found.folder, name=str(found.ref), dtype=dtype, device=device)
