"""Where recipes are: files of the user's, and those of the package."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from distill_eval.errors import UsageError, boundary, require, unknown
from distill_eval.recipe.recipe import Recipe
from distill_eval.recipe.table import resolve


class Overrides(NamedTuple):
    """The inputs that are given to a recipe, as arguments are to a function."""

    teacher: str | None = None
    data: str | None = None
    output_dir: Path | None = None


def shipped() -> dict[str, str]:
    """The recipes of the package: name to text."""
    folder = resources.files("distill_eval") / "recipes"
    files = [file for file in folder.iterdir() if file.name.endswith(".toml")]
    return {file.name.removesuffix(".toml"): file.read_text(encoding="utf-8") for file in sorted(files, key=str)}


def load(source: str, given: Overrides) -> Recipe:
    """The recipe of a file, or the shipped one of this name.

    Args:
        source: A path, or a name.
        given: Inputs that take the place of the recipe's own.

    Raises:
        UsageError: there is no such recipe, it is not TOML, or not a recipe; every wrong key is named.
    """
    path = Path(source).expanduser()
    if path.suffix == ".toml" or path.is_file():
        require(path.is_file(), f"{source}: no such recipe. Shipped ones: {', '.join(shipped())}")
        with boundary(UsageError, f"cannot read {source}"):
            text = path.read_text(encoding="utf-8")
    else:
        recipes = shipped()
        text = recipes[source] if source in recipes else unknown("recipe", source, recipes)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is not TOML: {error}") from error
    return resolve(_with(table, given, Path("runs") / path.stem), source=source)


def _with(table: dict[str, Any], given: Overrides, output_dir: Path) -> dict[str, Any]:
    table = {"output_dir": str(output_dir)} | table
    if given.teacher is not None:
        table["teacher"] = given.teacher
    if given.output_dir is not None:
        table["output_dir"] = str(given.output_dir)
    if given.data is not None:
        data = table.get("data")
        table["data"] = {**(data if isinstance(data, dict) else {}), "data": given.data}
    if isinstance(table["output_dir"], str):
        table["output_dir"] = str(Path(table["output_dir"]).expanduser())
    return table
