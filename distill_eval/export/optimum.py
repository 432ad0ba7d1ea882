"""optimum as the exporter: its own command, in an environment of its own, where there is another transformers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from distill_eval.errors import ModelError, StoreError, UsageError, boundary
from distill_eval.schema.export import Kind
from distill_eval.serving import guard
from distill_eval.serving.log import excerpt
from distill_eval.serving.server import end_group

GRAPH = "model.onnx"
"""optimum's own name of it."""
INSTALL = "python3 -m venv ENV && ENV/bin/pip install 'optimum-onnx[onnxruntime]' accelerate"
TASKS: dict[Kind, str] = {"causal": "text-generation-with-past", "classifier": "text-classification"}
_OF_OUR_ENVIRONMENT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_ASK_S = 300.0
"""How long a question may take: the command imports torch first, which is slow on a busy machine."""


class Optimum(NamedTuple):
    """A command that answers as `optimum-cli` does."""

    command: str
    """Absolute path."""
    version: str
    transformers: str
    """Version of the one that it uses."""

    def __str__(self) -> str:
        return f"optimum {self.version}, transformers {self.transformers}"


def find(command: Path) -> Optimum:
    """Ask the command what it is.

    Raises:
        UsageError: there is no such command, it is not optimum-cli, or it cannot export to ONNX.
    """
    path = shutil.which(command.expanduser())
    if path is None:
        raise UsageError(
            f"--optimum-cli {command}: no such command. Expected that of another virtual environment, e.g. "
            f"ENV/bin/optimum-cli. To make one, type: {INSTALL}"
        )
    path = str(Path(path).absolute())  # links stay: the folder says which environment it is
    code, said = _ask([path, "env"], command)
    version, transformers = (_version(said, package) for package in ("optimum", "transformers"))
    if code or version is None or transformers is None:
        missing = re.search(r"No module named '(\w+)", said)
        if missing is not None:
            raise UsageError(
                f"--optimum-cli {command}: {missing[1]} is not installed in its environment. Type: {INSTALL}"
            )
        raise UsageError(
            f"--optimum-cli {command} is not optimum-cli: `{command} env` ended with code {code} and names no version "
            f'of optimum; its last lines: "{excerpt(said)}". Expected ENV/bin/optimum-cli'
        )
    code, said = _ask([path, "export", "onnx", "--help"], command)
    if code:
        raise UsageError(
            f'--optimum-cli {command}: optimum {version} there cannot export to ONNX ("{excerpt(said, 1)}"). '
            f"optimum-onnx is missing beside it. Type: {INSTALL}"
        )
    return Optimum(path, version, transformers)


def _version(said: str, package: str) -> str | None:
    found = re.search(rf"`{package}` version: (\S+)", said)
    return None if found is None else found[1]


def write_graph(optimum: Optimum, folder: Path, target: Path, kind: Kind, *, log: Path) -> None:
    """Have optimum write a graph in float32.

    Args:
        optimum: What `find` found.
        folder: The model, as the other transformers reads it.
        target: Folder to write to.
        kind: What the model is.
        log: Where what it printed is kept when it fails.

    Raises:
        ModelError: it fails, or writes something else.
        StoreError: its log cannot be written.
    """
    words = ["export", "onnx", "--model", str(folder), "--task", TASKS[kind], "--library", "transformers"]
    printed = target.with_name(f"{target.name}.log")
    code = _run([optimum.command, *words, str(target)], printed)
    if code == 0 and (target / GRAPH).is_file():
        return
    said = excerpt(printed.read_text(encoding="utf-8", errors="replace"))
    with boundary(StoreError, f"cannot write {log}"):
        shutil.copyfile(printed, log)
    what = _ending(code) if code else f"wrote no {GRAPH}"
    raise ModelError(f'optimum-cli export onnx {what}. Its last lines: "{said}". Log: {log}')


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The variables for a command of another environment: ours without what points to this one."""
    return {name: value for name, value in ours.items() if name not in _OF_OUR_ENVIRONMENT}


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by signal {-code}, as happens when memory runs out"
    return f"ended with code {code}"


def _ask(words: Sequence[str], command: Path) -> tuple[int, str]:
    """Exit code of a command that is soon done, and what it printed."""
    with boundary(UsageError, f"--optimum-cli {command} cannot be run"):
        done = subprocess.run(
            words,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_ASK_S,
            check=False,
        )
    return done.returncode, done.stdout.decode(errors="replace")


def _run(words: Sequence[str], printed: Path) -> int:
    """Exit code of a command, which ends when we do."""
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, guard.__file__, str(os.getpid()), *words],
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait()
        finally:
            end_group(process)
