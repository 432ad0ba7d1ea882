"""What a step reads, known by its content: commits of the Hub, digests of files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from distill_eval import checkpoint
from distill_eval.engine import GENAI_CONFIG, graph_files
from distill_eval.errors import DataError
from distill_eval.evaluate.models import CONFIG_FILES, TOKENIZER_FILES
from distill_eval.pipeline.plan import Step
from distill_eval.pipeline.reads import Config, models, texts
from distill_eval.schema.model import ModelRef

FileDigest = Callable[[Path], str]
"""SHA-256 of a file's content."""
_AT = "@"
_TO_READ = (".md", ".svg")
_WRITTEN_ONCE = ("plan", "compare", "fidelity", "bench", "report")
"""Stages whose texts nothing else writes."""


def input_digests(config: Config, made: Collection[str], file_digest: FileDigest) -> dict[str, str | None]:
    """Every model and data set that a config names, by option.

    Args:
        config: Of one step.
        made: Folders that steps make: `None` while they are not there.
        file_digest: SHA-256 of a file's content.

    Raises:
        ModelError: there is no such model.
        DataError: there are no such data.
    """
    found: dict[str, str | None] = {}
    for option, names in models(config).items():
        for place, name in enumerate(names):
            later = name in made and not Path(name).is_dir()
            key = option if len(names) == 1 else f"{option}.{place}"
            found[key] = None if later else _model(name, option, file_digest)
    for option, name in texts(config).items():
        later = name in made and not Path(name).is_dir()
        found[option] = None if later else _data(name, option, file_digest)
    return found


def same(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> bool:
    """Whether nothing is known to have changed; a Hub that cannot be reached changes nothing."""
    return before.keys() == now.keys() and all(_alike(before[name], now[name]) for name in now)


def _alike(before: str | None, now: str | None) -> bool:
    if before is None or now is None:
        return False
    if before.startswith("hub:") and now.startswith("hub:") and not (_AT in before and _AT in now):
        return before.partition(_AT)[0] == now.partition(_AT)[0]
    return before == now


def files_of(step: Step, file_digest: FileDigest) -> dict[str, str]:
    """SHA-256 of the files of a finished step, by their path in its folder; not of a model's text and pictures.

    Those are written again by `distill-eval curves`, and by whoever describes a model.
    """
    written_once = step.stage in _WRITTEN_ONCE
    paths = [path for path in _kept(step.folder) if written_once or path.suffix not in _TO_READ]
    return {str(path.relative_to(step.folder)): file_digest(path) for path in paths}


def _kept(folder: Path) -> list[Path]:
    """The files below a folder, without hidden ones: locks, and what a killed process was writing."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def _model(name: str, role: str, file_digest: FileDigest) -> str:
    ref = ModelRef.parse(name)
    folder = checkpoint.locate(ref, checkpoint.SMALL_FILES, role=role)
    if folder != Path(ref.name).expanduser():
        return _known(ref, folder.name)  # a snapshot of the Hub's cache, named by its commit
    small = {path for pattern in (*CONFIG_FILES, *TOKENIZER_FILES, GENAI_CONFIG) for path in folder.glob(pattern)}
    weights = (*checkpoint.weight_files(folder), *graph_files(folder))
    return f"sha256:{checkpoint.content_digest({*small, *weights}, file_digest)}"


def _data(name: str, option: str, file_digest: FileDigest) -> str:
    path = Path(name).expanduser()
    if path.is_file():
        return f"sha256:{file_digest(path)}"
    if path.is_dir():
        return _content(path, _kept(path), file_digest)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise DataError(f"{option} {name}: no such file or folder")
    return _on_hub(ModelRef.parse(name), option)


def _content(folder: Path, paths: Iterable[Path], file_digest: FileDigest) -> str:
    lines = "".join(f"{path.relative_to(folder)} {file_digest(path)}\n" for path in paths if path.is_file())
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def _known(ref: ModelRef, commit: str) -> str:
    asked = f"#{ref.revision}" if ref.revision else ""
    return f"hub:{ref.name}{asked}{_AT if commit else ''}{commit}"


def _on_hub(ref: ModelRef, option: str) -> str:
    """A data set's name, and its commit where the Hub tells it."""
    from huggingface_hub import HfApi, errors

    try:
        found = HfApi().dataset_info(ref.name, revision=ref.revision, timeout=20)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise DataError(
            f"{option} {str(ref)!r} is neither a file, a folder nor a data set on the Hub: check the spelling "
            "(ORGANIZATION/NAME); for a private or gated one type `hf auth login`"
        ) from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError):
        return _known(ref, "")
    return _known(ref, found.sha or "")
