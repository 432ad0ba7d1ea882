"""A recipe to begin with: every stage, with comments."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path
from string import Template

from distill_eval.errors import require
from distill_eval.record import record, toml_value
from distill_eval.schema.model import ModelRef
from distill_eval.store import write_atomic


@record
class InitConfig:
    """Write a recipe with every stage and comments, to be changed and run."""

    teacher: str = "HuggingFaceTB/SmolLM2-135M-Instruct"
    """The teacher: Hub name, NAME@REVISION, or a folder."""
    tasks: tuple[str, ...] = ("lambada_openai", "arc_easy", "hellaswag", "winogrande", "sciq")
    """Tasks to compare on, comma-separated."""
    data: str | None = None
    """The data to train on: Hub data set, file or folder (default: the training text of WikiText-103)."""
    output: Path = Path("recipe.toml")
    """The file to write; it must not exist."""

    def __post_init__(self) -> None:
        ModelRef.parse(self.teacher)
        require(self.data is None or bool(self.data.strip()), "--data: expected a Hub data set, a file or a folder")
        require(
            bool(self.tasks) and all(self.tasks),
            "--tasks: expected one or more names, e.g. --tasks mmlu,lambada_openai",
        )
        require(self.output.suffix == ".toml", f"--output {self.output}: expected a name that ends in .toml")


def starter(config: InitConfig) -> str:
    """The recipe as TOML."""
    template = resources.files("distill_eval") / "recipes" / "starter.template"
    return Template(template.read_text(encoding="utf-8")).substitute(
        file=shlex.quote(str(config.output)),
        teacher=toml_value(config.teacher),
        tasks=toml_value(list(config.tasks)),
        data=toml_value(config.data or "Salesforce/wikitext"),
        data_config='data_config = "wikitext-103-raw-v1"' if config.data is None else '# data_config = "name"',
    )


def write_starter(config: InitConfig) -> Path:
    """Write it; returns where it is.

    Raises:
        UsageError: the file exists.
        StoreError: it cannot be written.
    """
    path = config.output.expanduser()
    require(not path.exists(), f"--output {path} exists: name another, or remove it")
    write_atomic(path, starter(config), option="--output")
    return path
