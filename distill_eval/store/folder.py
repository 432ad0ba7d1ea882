"""A folder that appears whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from distill_eval.errors import StoreError, UsageError, boundary, require


def require_free(output: Path) -> None:
    """Refuse an output folder that holds something, or that cannot be replaced.

    Raises:
        UsageError: it exists and is not an empty folder, or is the current directory.
    """
    with boundary(UsageError, f"--output-dir {output} leads nowhere"):
        found = output.resolve()
    require(
        found != Path.cwd(),
        f"--output-dir {output} is the current directory, which cannot be replaced: name a folder in it, e.g. "
        "--output-dir model",
    )
    free = not found.exists() or (found.is_dir() and not any(found.iterdir()))
    require(free, f"--output-dir {output} exists and is not an empty folder: name another, or remove it")


@contextmanager
def beside(output: Path) -> Iterator[Path]:
    """A scratch folder on the output's disk, removed in the end with what is left in it.

    A symbolic link to the output is followed here and in `publish`: a folder cannot be renamed onto a link.

    Raises:
        StoreError: it cannot be made.
    """
    output = output.resolve()
    with boundary(StoreError, f"cannot write below {output.parent}"):
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent)
    with scratch as name:
        yield Path(name)


def publish(built: Path, output: Path, texts: Mapping[str, str]) -> None:
    """Write the last files into a folder in the scratch folder, and have it appear as the output.

    Raises:
        StoreError: the disk is full, or the output cannot be written.
    """
    with boundary(StoreError, f"cannot write {output}"):
        for file, text in texts.items():
            (built / file).write_text(text, encoding="utf-8")
        built.rename(output.resolve())
