"""The command line and everything that is not tensor or statistics code starts without the heavy libraries."""

import importlib
import json
import resource
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from distill_eval import cli

ROOT = Path(__file__).resolve().parents[2]
RUFF = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
HEAVY = RUFF["flake8-tidy-imports"]["banned-module-level-imports"]
TENSOR_FILES = [
    glob for glob, rules in RUFF["per-file-ignores"].items() if glob.startswith("distill_eval/") and "TID253" in rules
]
HELP_RATIO = 2.0

RUN_CLI = """
import runpy
sys.argv = ["distill-eval", *argument]
try:
    runpy.run_module("distill_eval.cli", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    print("exit code", stop.code or 0)
"""
IMPORT_ALL = """
import importlib
for name in argument:
    importlib.import_module(name)
"""
PROBE = """
import json, sys
argument, heavy = json.loads(sys.argv[1]), json.loads(sys.argv[2])
{code}
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


def heavy_after(code, argument):
    """The heavy libraries that a fresh interpreter has imported once it has run `code`; and what that printed."""
    command = [sys.executable, "-c", PROBE.format(code=code), json.dumps(argument), json.dumps(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    *printed, found = done.stdout.splitlines()
    return json.loads(found), "\n".join(printed)


def light_modules():
    """Every module of the package that pyproject.toml does not name as tensor or statistics code."""
    files = (path.relative_to(ROOT) for path in sorted((ROOT / "distill_eval").rglob("*.py")))
    light = [path for path in files if not any(fnmatch(path.as_posix(), glob) for glob in TENSOR_FILES)]
    names = (".".join(path.with_suffix("").parts) for path in light if path.stem != "__main__")
    return [name.removesuffix(".__init__") for name in names]


def test_the_ban_covers_what_is_slow():
    assert {"torch", "transformers", "lm_eval", "datasets", "vllm", "scipy", "statsmodels", "pandas"} <= set(HEAVY)


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["compare", "--help"],
        ["prepare", "--help"],
        ["run", "--help"],
        ["curves", "--help"],
        ["fidelity", "--help"],
        ["peek", "--help"],
        ["serve", "--help"],
        ["cache", "list", "--help"],
    ],
)
def test_help_imports_nothing_heavy(argv):
    found, printed = heavy_after(RUN_CLI, argv)
    assert found == []
    assert "usage: distill-eval" in printed
    assert printed.endswith("exit code 0")


def test_light_modules_import_nothing_heavy():
    modules = light_modules()
    assert {"distill_eval.cli", "distill_eval.recipe", "distill_eval.pipeline.run", "distill_eval.store"} <= set(
        modules
    )
    assert heavy_after(IMPORT_ALL, modules) == ([], "")


def test_help_is_quick():
    """Against the library that reads the command line, in one run, in CPU time, the least of several runs."""
    ours, library = [], []
    for _ in range(5):
        ours.append(_cpu_seconds("-m", "distill_eval.cli", "--help"))
        library.append(_cpu_seconds("-c", "import tyro"))
    assert min(ours) < HELP_RATIO * min(library)


def _cpu_seconds(*arguments):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_every_verb_has_a_config_and_a_function():
    configs = {where.partition(":")[2] for where, _ in cli.VERBS.values()} - {"CacheConfig"}
    assert configs <= set(cli.RUN)
    functions = [f"distill_eval.verbs.{where}" for where in cli.RUN.values()]
    for where in [*(where for where, _ in cli.VERBS.values()), *functions]:
        module, _, name = where.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
