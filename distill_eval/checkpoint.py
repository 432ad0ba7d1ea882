"""Where a model's files are: the user's own folder, or a snapshot of a repository on the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from distill_eval.errors import ModelError, StoreError, UsageError, boundary
from distill_eval.schema.model import ModelRef

SMALL_FILES = ("*.json", "*.txt", "*.jinja", "*.model")
"""Everything of a model repository but its weights: config, tokenizer, chat template."""
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZER = ("tokenizer*", "vocab.*", "merges.txt", "*.model", "added_tokens.json", "special_tokens_map.json")
_UNCHANGED = (*_TOKENIZER, "chat_template*", "generation_config.json")
_PICKLES = ("pytorch_model*.bin", "model*.bin", "*.pth", "*.ckpt", "model*.pt")


def copy_unchanged(source: Path, output: Path) -> None:
    """Copy what is no weight and no config byte by byte, so that two models tokenize and generate alike.

    Raises:
        OSError: a file cannot be read or written.
    """
    for pattern in _UNCHANGED:
        for file in source.glob(pattern):
            if file.is_file():
                shutil.copyfile(file, output / file.name)


def locate(ref: ModelRef, patterns: Sequence[str], *, role: str) -> Path:
    """The local folder with a model's files: the user's own, or a snapshot of those that match on the Hub.

    Args:
        ref: A folder, or a Hub name, perhaps with a revision.
        patterns: File names, with wildcards, to download unless the Hub cache has them.
        role: What the model is to the user, for the message: `teacher` or `model`.

    Raises:
        UsageError: a revision of a folder was asked for.
        ModelError: there is no such folder, repository or revision, it is gated, or the Hub cannot be reached.
    """
    folder = Path(ref.name).expanduser()
    if folder.is_dir():
        if ref.revision is not None:
            raise UsageError(f"{str(ref)!r}: a folder has no revision. Type {ref.name!r}, or a Hub model NAME@REVISION")
        return folder
    if ref.name.startswith((".", "/", "~")) or ref.name.count("/") > 1:
        raise ModelError(
            f"{role} {ref.name!r} is not a folder. Expected one with config.json and {_WEIGHTS}, or a Hub name"
        )
    return _snapshot(ref, patterns, role)


def locate_with_weights(ref: ModelRef, patterns: Sequence[str], *, role: str) -> Path:
    """As `locate`, with the weights that transformers reads and no others, all of them there.

    Raises:
        UsageError: a revision of a folder was asked for.
        ModelError: as `locate`; or there are no weights, only pickle files, or a shard is missing.
    """
    folder = locate(ref, patterns, role=role)
    if folder != Path(ref.name).expanduser():
        shards = [file.name for file in weight_files(folder)]  # a repository may hold the same weights in other forms
        folder = _snapshot(ref, [*patterns, _WEIGHTS, *shards], role)
    _require_weights(ref, folder)
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would read from a model folder; possibly none.

    Raises:
        ModelError: the index of a sharded checkpoint cannot be read.
    """
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if not (folder / _INDEX).is_file():
        return []
    with boundary(ModelError, f"{folder / _INDEX} cannot be read"):
        names = set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
    return [folder / name for name in sorted(names)]


def weight_bytes(folder: Path) -> int:
    """Bytes of the weight files of a model folder.

    Raises:
        ModelError: the index of a sharded checkpoint cannot be read.
    """
    return sum(file.stat().st_size for file in weight_files(folder))


def packed_as(config: Mapping[str, Any]) -> str | None:
    """How weights are packed by a config.json, e.g. `compressed-tensors W8A8`; `None` when they are not."""
    packed = config.get("quantization_config") or {}
    return f"{packed.get('quant_method', 'unknown')} {_bits(packed)}".strip() if packed else None


def _bits(packed: Mapping[str, Any]) -> str:
    """The scheme, in the words of compressed-tensors and bitsandbytes."""
    if packed.get("load_in_8bit"):
        return "int8"
    if packed.get("load_in_4bit"):
        return str(packed.get("bnb_4bit_quant_type", "4 bit"))
    groups = packed.get("config_groups") or {}
    found = [(group.get("weights") or {}, group.get("input_activations") or {}) for group in groups.values()]
    schemes = [f"W{weights.get('num_bits')}A{inputs.get('num_bits', 16)}" for weights, inputs in found]
    if not schemes and packed.get("bits"):
        schemes = [f"W{packed['bits']}A{packed.get('act_bits') or 16}"]
    return ", ".join(dict.fromkeys(schemes))


def hub_commit(folder: Path) -> str | None:
    """The commit of a snapshot in the Hub's cache; `None` for a folder of the user's own."""
    return folder.name if folder.parent.name == "snapshots" else None


def remove_weights(folder: Path) -> None:
    """Remove the safetensors files of a model folder, and their index.

    Raises:
        StoreError: a file cannot be removed.
    """
    files = weight_files(folder)
    with boundary(StoreError, f"cannot remove the weights in {folder}"):
        for file in (*files, folder / _INDEX):
            file.unlink(missing_ok=True)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(files: Iterable[Path], digest: Callable[[Path], str] = file_digest) -> str:
    """SHA-256 over files of one model folder, name and content, whatever their order and their folder.

    Args:
        files: Which.
        digest: SHA-256 of a file's content (the store remembers them).
    """
    lines = "".join(f"{path.name} {digest(path)}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def _require_weights(ref: ModelRef, folder: Path) -> None:
    files = weight_files(folder)
    for file in files:
        if not file.is_file():
            raise ModelError(f"{str(ref)!r}: {_INDEX} names {file.name}, which is missing from {folder}")
    if not files:
        names = _names(ref, folder)
        pickles = sorted(name for name in names if any(fnmatch(name, pattern) for pattern in _PICKLES))
        if pickles:
            raise ModelError(
                f"{str(ref)!r} has pickle weights only ({', '.join(pickles[:3])}), which can run code when they are "
                "read. Where you trust them, load them with transformers and save_pretrained() them as safetensors"
            )
        raise ModelError(f"{str(ref)!r}: no weights in {folder}; expected {_WEIGHTS} or {_INDEX}")


def _names(ref: ModelRef, folder: Path) -> list[str]:
    if folder == Path(ref.name).expanduser():
        return [path.name for path in folder.iterdir()]
    from huggingface_hub import list_repo_files

    with boundary(ModelError, f"{str(ref)!r} has no {_WEIGHTS}, and the Hub does not say what it has"):
        return list(list_repo_files(ref.name, revision=ref.revision))


def _snapshot(ref: ModelRef, patterns: Sequence[str], role: str) -> Path:
    from huggingface_hub import errors, snapshot_download

    with boundary(ModelError, f"{role} {str(ref)!r} cannot be downloaded"):  # whatever the HTTP client may raise
        try:
            return Path(snapshot_download(ref.name, revision=ref.revision, allow_patterns=list(patterns)))
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
            raise ModelError(f"{role} {str(ref)!r} {_reason(error)}") from error


def _reason(error: Exception) -> str:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no such revision on {constants.ENDPOINT}"
    if isinstance(error, errors.GatedRepoError):
        return "is gated: accept its terms on the Hub, then type `hf auth login`"
    if isinstance(error, (errors.RepositoryNotFoundError, errors.HFValidationError)):
        return (
            f"is neither a folder nor a model on {constants.ENDPOINT}: check the spelling (ORGANIZATION/NAME); "
            "for a private model type `hf auth login`"
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"is not in the Hub cache, and {constants.ENDPOINT} cannot be reached: connect once, or name a folder"
    first = str(error).partition("\n")[0]
    return f"cannot be downloaded from {constants.ENDPOINT}: {first}"
