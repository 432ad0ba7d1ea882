"""Named sets of engine settings, shipped with the package or written by the user."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from distill_eval.errors import UsageError, boundary, unknown
from distill_eval.record import changed, from_table
from distill_eval.serving.options import Tuning


def shipped() -> dict[str, str]:
    """The text of each profile of the package, by name."""
    folder = resources.files("distill_eval.serving") / "profiles"
    files = (file for file in folder.iterdir() if file.name.endswith(".toml"))
    return {Path(file.name).stem: file.read_text(encoding="utf-8") for file in files}


def load(name: str) -> Tuning:
    """The settings of a profile, read strictly.

    Args:
        name: Of a shipped one, or the path of a TOML file.

    Raises:
        UsageError: there is no such profile, it is not TOML, or a key or value is wrong.
    """
    texts = shipped()
    if not name.endswith(".toml"):
        if name not in texts:
            unknown("--profile", name, texts)
        return _read(texts[name], name)
    with boundary(UsageError, f"--profile {name} cannot be read"):
        text = Path(name).expanduser().read_text(encoding="utf-8")
    return _read(text, name)


def tuned(name: str | None, said: Tuning) -> Tuning:
    """The settings of a profile, if one is named, under those that the command line says.

    Raises:
        UsageError: as `load`.
    """
    if name is None:
        return said
    return from_table(Tuning, {**changed(load(name)), **changed(said)}, source="command line")


def _read(text: str, source: str) -> Tuning:
    try:
        return from_table(Tuning, tomllib.loads(text), source=f"--profile {source}")
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"--profile {source} is not TOML: {error}") from error
