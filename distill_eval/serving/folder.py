"""What a model folder says that a server has to know, and whether vLLM serves such a folder at all."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval import checkpoint
from distill_eval.engine import graph_files, guess
from distill_eval.engine.packing import quantization, read_json
from distill_eval.errors import ModelError, boundary
from distill_eval.schema.model import ModelRef

_CODE = ("*.py",)
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
"""Under which configs say how many tokens the model reads."""
_NOT_GENERATIVE = ("Classification", "MaskedLM", "QuestionAnswering")
_IN_PROCESS = "`distill-eval bench` measures it in its own process"
_VARIANT = (
    "Make a variant that it serves: `distill-eval quantize --scheme W8A8` (or W4A16); for this one, "
    f"{_IN_PROCESS} (--engine hf)"
)


class Described(NamedTuple):
    """A model folder, as its config.json describes it."""

    folder: Path
    config: Mapping[str, Any]
    """Of the text part, where the model has several."""
    dtype: str | None
    max_length: int | None
    """Tokens that it reads at most."""
    is_stretched: bool
    """Whether scaled positions may let it read more than that."""
    quantization: str | None
    """The method and, for compressed-tensors, the bits, e.g. `compressed-tensors W8A8`."""
    weight_bytes: int
    """On disk."""


def locate(ref: ModelRef, *, trust_remote_code: bool) -> Path:
    """The folder of a model that can be served, with its weights.

    Raises:
        ModelError: it cannot be had, or it is of a kind that vLLM does not serve.
    """
    patterns = (*checkpoint.SMALL_FILES, *(_CODE if trust_remote_code else ()))
    folder = checkpoint.locate(ref, patterns, role="model")
    if guess(folder) == "onnx" or (graph_files(folder) and not checkpoint.weight_files(folder)):
        raise ModelError(
            f"{ref} is an ONNX folder, and vLLM serves safetensors: {_IN_PROCESS}; to serve it, name the model that it "
            "was exported from"
        )
    if list(folder.glob("*.gguf")) and not checkpoint.weight_files(folder):
        raise ModelError(
            f"{ref} is a GGUF folder, and vLLM serves safetensors: name the model that it was made from, or quantize "
            "that with `distill-eval quantize --scheme W4A16`"
        )
    return checkpoint.locate_with_weights(ref, patterns, role="model")


def describe(folder: Path) -> Described:
    """What the folder's config says.

    Raises:
        ModelError: it cannot be read.
    """
    with boundary(ModelError, f"the configuration in {folder} cannot be read"):
        whole = read_json(folder / "config.json")
        if not whole:
            raise ModelError(f"no config.json in {folder}: expected a model folder as transformers writes it")
        text = whole.get("text_config") or whole
        length = next((int(text[name]) for name in _LENGTHS if text.get(name)), None)
        positions = text.get("rope_parameters") or text.get("rope_scaling") or {}
        dtype = whole.get("dtype") or whole.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
        return Described(
            folder=folder,
            config=text,
            dtype=None if dtype is None else str(dtype).removeprefix("torch."),
            max_length=length,
            is_stretched="factor" in positions,
            quantization=quantization(folder),
            weight_bytes=checkpoint.weight_bytes(folder),
        )


def require_served(ref: ModelRef, model: Described, *, is_cpu: bool) -> None:
    """Refuse what vLLM is known not to serve, before it is started.

    Raises:
        ModelError: the model does not write text, or this vLLM has no kernels for how its weights are packed.
    """
    architectures = [str(name) for name in model.config.get("architectures") or ()]
    wrong = [name for name in architectures if any(part in name for part in _NOT_GENERATIVE)]
    if wrong:
        raise ModelError(f"{ref} is a {wrong[0]}, which writes no text: {_IN_PROCESS}")
    method = model.quantization or ""
    if method.startswith("bitsandbytes") and (is_cpu or not _has_quantization("bitsandbytes")):
        raise ModelError(f"{ref} is quantized by {method}, which vLLM does not serve here. {_VARIANT}")
    if is_cpu and method == "compressed-tensors W8A16":
        raise ModelError(f"{ref} is quantized as {method}, for which vLLM has no kernel on a CPU. {_VARIANT}")


def _has_quantization(method: str) -> bool:
    """Whether the vLLM that is installed has a file for it; found without an import."""
    found = find_spec("vllm")
    folders = found.submodule_search_locations or [] if found else []
    return any((Path(folder) / f"model_executor/layers/quantization/{method}.py").is_file() for folder in folders)
