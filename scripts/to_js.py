"""Pure functions and records of Python as JavaScript: a small subset, and an error for whatever is outside it.

The functions that are asked for bring what they use: other functions, constants, records and NamedTuples. Numbers are
those of JavaScript, which has no other: a product of integers is exact up to 2^53, as is `//`. What is an error in
Python (a division by zero, the logarithm of 0, the largest of nothing) is one there; see plan_page/prelude.js.
"""

from __future__ import annotations

import ast
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from to_js_function import Function, RefusedError, found

EXACT = 2**53


class Translation:
    """JavaScript that grows by what is asked for."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self.known: dict[str, object] = {}
        self.members: set[str] = set()
        """Fields, properties and methods of all translated classes."""
        self.used: dict[str, str] = {}
        """Attributes that are read, and where."""

    def add(self, *roots: Callable[..., Any]) -> None:
        """Functions or classes, with whatever they use."""
        for root in roots:
            self.reference(root.__name__, root)

    def constant(self, name: str, value: object) -> None:
        """Data under a name."""
        self.known[name] = value
        self._texts[name] = f"const {name} = {self.literal(value)};"

    def text(self) -> str:
        """All of it.

        Raises:
            RefusedError: a function reads an attribute that no translated class has.
        """
        for attribute, where in self.used.items():
            if attribute not in self.members:
                raise RefusedError(f"{where}: .{attribute} is of no translated class")
        return "\n".join(self._texts.values()) + "\n"

    def reference(self, name: str, value: Any) -> str:
        """The name under which a value of a module stands in the script; it is added where it is not there."""
        name = getattr(value, "__name__", name)
        if name in self.known:
            if self.known[name] is not value:
                raise RefusedError(f"two things are called {name}")
            return name
        self.known[name] = value
        if isinstance(value, type):
            text = _Class(self, value).text()
        elif callable(value):
            text = Function(self, vars(sys.modules[value.__module__]), found(value)).declared()
        else:
            text = f"const {name} = {self.literal(value)};"
        self._texts[name] = text  # after what it uses, since constants are read when they are declared
        return name

    def literal(self, value: Any) -> str:
        """A value as an expression; records and NamedTuples are made by their classes."""
        if value is None or isinstance(value, bool | str):
            return json.dumps(value).replace("</", "<\\/")  # it ends no script
        if isinstance(value, int | float):
            if not math.isfinite(value) or (isinstance(value, int) and abs(value) > EXACT):
                raise RefusedError(f"{value} is no exact number in JavaScript")
            return repr(value)
        if hasattr(value, "_fields") or is_dataclass(value):
            names = getattr(value, "_fields", None) or [field.name for field in fields(value)]
            made = self.reference(type(value).__name__, type(value))
            return f"new {made}({', '.join(self.literal(getattr(value, name)) for name in names)})"
        if isinstance(value, Mapping):
            return "{" + ", ".join(f"{json.dumps(str(key))}: {self.literal(one)}" for key, one in value.items()) + "}"
        if isinstance(value, tuple | list):
            return f"[{', '.join(map(self.literal, value))}]"
        raise RefusedError(f"a {type(value).__name__} is no constant: {value!r}")


class _Class:
    """A record or NamedTuple: its fields in their order, its properties and methods."""

    def __init__(self, whole: Translation, cls: type) -> None:
        self.whole, self.cls, self.node = whole, cls, found(cls)
        self.scope = vars(sys.modules[cls.__module__])
        if not (is_dataclass(cls) or hasattr(cls, "_fields")):
            raise RefusedError(f"class {cls.__name__} is neither a record nor a NamedTuple")

    def text(self) -> str:
        """The class."""
        parameters, members = [], []
        for node in self.node.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.whole.members.add(node.target.id)
                parameters.append(node.target.id + self._default(node))
            elif isinstance(node, ast.FunctionDef):
                members.append(self._member(node))
            elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # docstrings
                raise RefusedError(f"class {self.cls.__name__}, line {node.lineno}: {type(node).__name__}")
        names = ", ".join(one.partition(" ")[0] for one in parameters)
        made = f"  constructor({', '.join(parameters)}) {{ Object.assign(this, {{ {names} }}); }}"
        return "\n".join([f"class {self.cls.__name__} {{", made, *filter(None, members), "}"])

    def _default(self, node: ast.AnnAssign) -> str:
        if node.value is None:
            return ""
        return f" = {Function(self.whole, self.scope, self.node).visit(node.value)}"

    def _member(self, node: ast.FunctionDef) -> str:
        if node.name == "__post_init__":
            return ""  # what it refuses a page's controls do not offer
        kinds = [ast.unparse(one) for one in node.decorator_list]
        if kinds not in ([], ["property"]):
            raise RefusedError(f"{self.cls.__name__}.{node.name} is decorated with {', '.join(kinds)}")
        self.whole.members.add(node.name)
        body = Function(self.whole, self.scope, node, has_self=True).rest()
        return f"  {'get ' if kinds else ''}{node.name}{body}"
