"""The house rules on sizes, names and error handling, read off the package's syntax trees."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "distill_eval").rglob("*.py"))
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
SAYS_NOTHING = {"utils", "helpers", "common", "misc", "core"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")


def relative(path):
    return path.relative_to(ROOT).as_posix()


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def num_lines(function):
    """Lines of a function without its docstring, decorators not counted."""
    doc = ast.get_docstring(function, clean=False)
    return function.end_lineno - function.lineno + 1 - (doc.count("\n") + 1 if doc else 0)


def is_empty(function):
    """Whether nothing but a docstring, `...` or `pass` stands in it."""
    return all(
        isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in function.body
    )


def is_abstract(function, path):
    """Whether it is a method of a Protocol or an abstract one, whose body is rightly empty."""
    if any(ast.unparse(decorator) == "abstractmethod" for decorator in function.decorator_list):
        return True
    classes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    protocols = [c for c in classes if any("Protocol" in ast.unparse(base) for base in c.bases)]
    return function.lineno in {m.lineno for c in protocols for m in ast.walk(c) if isinstance(m, ast.FunctionDef)}


def catches_everything(handler):
    """Whether an `except` clause has no type, or names Exception or BaseException."""
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(t is None or ast.unparse(t) in {"Exception", "BaseException"} for t in types)


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_sizes(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < MAX_FILE_LINES
    assert {f.name: num_lines(f) for f in functions(path) if num_lines(f) >= MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_is_unfinished_or_unnamed(path):
    text = path.read_text(encoding="utf-8")
    assert path.stem not in SAYS_NOTHING
    assert [line for line in text.splitlines() if UNFINISHED.search(line)] == []
    assert [f.name for f in functions(path) if is_empty(f) and not is_abstract(f, path)] == []


def test_only_the_boundary_catches_everything():
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and catches_everything(node):
                found.append(relative(path))
    assert found == ["distill_eval/errors.py"]


def test_code_is_ascii():
    # The error tree in errors.py is drawn with box characters.
    foreign = {relative(p) for p in FILES if not p.read_text(encoding="utf-8").isascii()}
    assert foreign <= {"distill_eval/errors.py"}
