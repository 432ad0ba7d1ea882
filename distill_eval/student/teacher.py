"""Find a teacher's files and read its configuration, so that whatever is wrong is said before weights are loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from distill_eval.errors import ModelError, UsageError, boundary
from distill_eval.hub import snapshot
from distill_eval.schema.model import ModelRef

_SMALL_FILES = ["*.json", "*.txt", "*.jinja", "*.model"]
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARDS = "model-*.safetensors"


def locate(ref: ModelRef) -> Path:
    """The folder with everything but the weights: the user's own, or a snapshot of the Hub repository.

    Raises:
        UsageError: a revision of a local folder was asked for.
        ModelError: there is no such folder, repository or revision, or the Hub cannot be reached.
    """
    folder = Path(ref.name).expanduser()
    if folder.is_dir():
        if ref.revision is not None:
            raise UsageError(f"{str(ref)!r}: a folder has no revisions. Type {ref.name!r}")
        return folder
    if ref.name.startswith((".", "/", "~")) or ref.name.count("/") > 1:
        raise ModelError(f"teacher {ref.name!r}: no such folder")
    return snapshot(ref, _SMALL_FILES, role="teacher")


def read_config(ref: ModelRef, folder: Path) -> Any:
    """The transformers config of a causal language model whose layers can be dropped.

    Raises:
        ModelError: there is no readable config, or the model is of a kind that is not supported.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    with boundary(ModelError, f"the config of {str(ref)!r} cannot be read (code from a repository is never run)"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    causal: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    named = (config.architectures or [getattr(causal, "__name__", type(config).__name__)])[0]
    if getattr(config, "is_encoder_decoder", False) or named != getattr(causal, "__name__", None):
        raise ModelError(f"{str(ref)!r} is a {named}: expected a causal language model without an encoder")
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"{str(ref)!r} is quantized: name the unquantized model, and quantize the student afterwards")
    if not isinstance(getattr(config, "num_hidden_layers", None), int):
        raise ModelError(f"{named} has no num_hidden_layers in its config: layers cannot be dropped from {str(ref)!r}")
    return config


def fetch_weights(ref: ModelRef, folder: Path) -> Path:
    """The folder with the safetensors weights too; on the Hub they are downloaded now.

    Raises:
        ModelError: there are none, only pickle files, or a shard is missing.
    """
    if not Path(ref.name).expanduser().is_dir():
        folder = snapshot(ref, [*_SMALL_FILES, _WEIGHTS, _SHARDS], role="teacher")
    for file in weight_files(folder):
        if not file.is_file():
            raise ModelError(f"{str(ref)!r}: {_INDEX} names {file.name}, which is missing")
    if not weight_files(folder):
        pickles = sorted(name for name in _names(ref, folder) if name.endswith((".bin", ".pt", ".pth")))
        why = f"only {', '.join(pickles)} (pickle files can run code: never loaded)" if pickles else "no weights"
        raise ModelError(f"{str(ref)!r} has {why}. Expected {_WEIGHTS} or {_INDEX}")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would read from a model folder; possibly none."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).is_file():
        return []
    with boundary(ModelError, f"{folder / _INDEX} cannot be read"):
        names = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    return [folder / name for name in sorted(names)]


def _names(ref: ModelRef, folder: Path) -> list[str]:
    if folder == Path(ref.name).expanduser():
        return [path.name for path in folder.iterdir()]
    from huggingface_hub import list_repo_files

    with boundary(ModelError, f"{str(ref)!r} has no {_WEIGHTS}, and the Hub does not say what it has"):
        return list(list_repo_files(ref.name, revision=ref.revision))
