"""A file of the user's own, or one of a data set on the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distill_eval.bench.prompts.asked import Asked
from distill_eval.errors import UsageError, boundary, require


def local_file(asked: Asked) -> Path:
    """Where the file of `--dataset-path` lies; one of a Hub data set, ORG/NAME/FILE, is downloaded.

    Raises:
        UsageError: it is not there.
    """
    name = str(asked.config.dataset_path)
    path = Path(name).expanduser()
    if path.is_file():
        return path
    organization, _, rest = name.partition("/")
    dataset, _, file = rest.partition("/")
    require(
        bool(file) and not path.is_dir() and not name.startswith((".", "/", "~")),
        f"{asked.said}: no such file. Expected a file here, or one of a Hub data set: ORG/NAME/FILE",
    )
    from huggingface_hub import constants, errors, hf_hub_download

    repository = f"{organization}/{dataset}"
    with boundary(UsageError, f"{asked.said} cannot be downloaded"):
        try:
            return Path(hf_hub_download(repository, file, repo_type="dataset"))
        except (errors.HfHubHTTPError, errors.HFValidationError) as error:
            raise UsageError(
                f"{asked.said}: no such file here, and {constants.ENDPOINT} has no data set {repository} with it"
            ) from error


def text_of(path: Path, said: str) -> str:
    """A text file's content.

    Raises:
        UsageError: it is no text.
    """
    with boundary(UsageError, f"{said} cannot be read as text"):
        return path.read_text(encoding="utf-8-sig")


def json_lines(path: Path, said: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file, with the number of their line.

    Raises:
        UsageError: a line is no JSON object.
    """
    for number, line in enumerate(text_of(path, said).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UsageError(f"{said}, line {number}: expected a JSON object, found {line.strip()[:60]!r}")
        yield number, found
