"""One function of Python as JavaScript, for `to_js`: what it may consist of, and what it means there."""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

BUILTINS = ("abs", "enumerate", "float", "int", "len", "max", "min", "range", "sum", "zip")
MATH = ("ceil", "exp", "floor", "log", "log10", "log2", "sqrt")
RESERVED = frozenset({"delete", "function", "new", "switch", "this", "typeof", "var", "void", "case", "const", "let"})
BINARY = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Pow: "**"}
CHECKED = {ast.Div: "divided", ast.FloorDiv: "floor_divided", ast.Mod: "modulo"}
ORDER = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


class RefusedError(Exception):
    """Python that this does not translate."""


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"), path)


def found(value: Any) -> Any:
    """The definition of a function or class on its module's first level."""
    path = sys.modules[value.__module__].__file__
    assert path is not None
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == value.__name__:
            return node
    raise RefusedError(f"{value.__module__} does not define {value.__name__} on its first level")


class Function(ast.NodeVisitor):
    """One function, with the names that it may use."""

    def __init__(self, whole: Any, scope: Mapping[str, Any], node: Any, *, has_self: bool = False) -> None:
        self.whole, self.scope, self.node, self.has_self = whole, dict(scope), node, has_self
        self.local: set[str] = set()

    def declared(self) -> str:
        """As a declaration."""
        return f"function {self.node.name}{self.rest()}"

    def rest(self) -> str:
        """Parameters and body."""
        given = self.node.args
        if given.vararg or given.kwarg:
            self.refuse(self.node, "* and ** in a signature")
        names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        defaults: dict[str, Any] = dict(
            zip(reversed([one.arg for one in given.args]), reversed(given.defaults), strict=False)
        )
        defaults |= {one.arg: value for one, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if value}
        names = names[1:] if self.has_self else names
        self.local |= {*names, *(["self"] if self.has_self else [])}
        shown = [f"{name} = {self.visit(defaults[name])}" if name in defaults else name for name in names]
        inside = [one for one in ast.walk(self.node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
        made = {one.id for one in inside} - self._comprehended()
        for name in (*names, *made):
            if name in RESERVED:
                self.refuse(self.node, f"the name {name}")
        body = "".join(self.visit(one) for one in self.node.body)
        mine = sorted(made - set(names))
        variables = f" let {', '.join(mine)};" if mine else ""
        return f"({', '.join(shown)}) {{{variables}{body} }}"

    def refuse(self, node: Any, what: str = "") -> NoReturn:
        """Say what and where."""
        shown = what or f"{type(node).__name__}: {ast.unparse(node)}"
        raise RefusedError(f"{self.node.name}, line {getattr(node, 'lineno', '?')}: {shown}")

    def _comprehended(self) -> set[str]:
        targets = [one.target for one in ast.walk(self.node) if isinstance(one, ast.comprehension)]
        return {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}

    # ---- statements

    def _block(self, nodes: list[Any]) -> str:
        return f" {{{''.join(map(self.visit, nodes))} }}"

    def visit_Expr(self, node: ast.Expr) -> str:
        return "" if isinstance(node.value, ast.Constant) else self.refuse(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> str:
        for one in node.names:
            self.scope[one.asname or one.name] = getattr(importlib.import_module(node.module or ""), one.name)
        return ""

    def visit_Return(self, node: ast.Return) -> str:
        return f" return {self.visit(node.value)};" if node.value else " return null;"

    def visit_Assert(self, node: ast.Assert) -> str:
        return f" if (!{self.test(node.test)}) throw new Error({json.dumps(ast.unparse(node.test))});"

    def visit_If(self, node: ast.If) -> str:
        rest = f" else{self._block(node.orelse)}" if node.orelse else ""
        return f" if ({self.test(node.test)}){self._block(node.body)}{rest}"

    def visit_While(self, node: ast.While) -> str:
        return self.refuse(node) if node.orelse else f" while ({self.test(node.test)}){self._block(node.body)}"

    def visit_For(self, node: ast.For) -> str:
        if node.orelse:
            self.refuse(node)
        return f" for ({self._target(node.target)} of {self.visit(node.iter)}){self._block(node.body)}"

    def visit_Assign(self, node: ast.Assign) -> str:
        value = self.visit(node.value)  # before its names are local
        return " " + "".join(f"{self._target(one)} = " for one in node.targets) + value + ";"

    def visit_AnnAssign(self, node: ast.AnnAssign) -> str:
        return f" {self._target(node.target)} = {self.visit(node.value)};" if node.value else ""

    def visit_AugAssign(self, node: ast.AugAssign) -> str:
        target = self.visit(ast.Name(node.target.id, ast.Load())) if isinstance(node.target, ast.Name) else ""
        if type(node.op) not in BINARY or not target:
            self.refuse(node)
        return f" {target} = {target} {BINARY[type(node.op)]} ({self.visit(node.value)});"

    def _target(self, node: Any) -> str:
        if isinstance(node, ast.Name):
            self.local.add(node.id)
            return node.id
        if isinstance(node, ast.Tuple):
            return f"[{', '.join(map(self._target, node.elts))}]"
        return self.refuse(node)

    # ---- expressions

    def test(self, node: Any) -> str:
        """Whether Python takes it as true."""
        shown = self.visit(node)
        plain = isinstance(node, ast.Compare) or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))
        return shown if plain else f"truth({shown})"

    def generic_visit(self, node: ast.AST) -> NoReturn:
        """Whatever has no method below is outside the subset."""
        self.refuse(node)

    def visit_Constant(self, node: ast.Constant) -> str:
        return self.whole.literal(node.value)

    def visit_Name(self, node: ast.Name) -> str:
        if node.id in self.local:
            return "this" if node.id == "self" and self.has_self else node.id
        if node.id in self.scope:
            return self.whole.reference(node.id, self.scope[node.id])
        return self.refuse(node, f"the name {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> str:
        module = self._module(node)
        if module is not None:
            return self.whole.reference(node.attr, getattr(module, node.attr))
        self.whole.used.setdefault(node.attr, f"{self.node.name}, line {node.lineno}")
        return f"{self.visit(node.value)}.{node.attr}"

    def _module(self, node: Any) -> ModuleType | None:
        """Whose attribute this is, where it is a module's."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in self.local:
            owner = self.scope.get(node.value.id)
            return owner if isinstance(owner, ModuleType) else None
        return None

    def visit_Tuple(self, node: ast.Tuple) -> str:
        return f"[{', '.join(map(self.visit, node.elts))}]"

    visit_List = visit_Tuple

    def visit_Dict(self, node: ast.Dict) -> str:
        pairs = zip(node.keys, node.values, strict=True)
        shown = [f"[{self.visit(key)}]: {self.visit(one)}" for key, one in pairs]
        return f"({{{', '.join(shown)}}})"

    def visit_Subscript(self, node: ast.Subscript) -> str:
        return f"item({self.visit(node.value)}, {self.visit(node.slice)})"

    def visit_IfExp(self, node: ast.IfExp) -> str:
        return f"({self.test(node.test)} ? {self.visit(node.body)} : {self.visit(node.orelse)})"

    def visit_UnaryOp(self, node: ast.UnaryOp) -> str:
        if isinstance(node.op, ast.Not):
            return f"!{self.test(node.operand)}"
        return f"(-{self.visit(node.operand)})" if isinstance(node.op, ast.USub) else self.refuse(node)

    def visit_BinOp(self, node: ast.BinOp) -> str:
        left, right, kind = self.visit(node.left), self.visit(node.right), type(node.op)
        if kind in CHECKED:
            return f"{CHECKED[kind]}({left}, {right})"
        return f"({left} {BINARY[kind]} {right})" if kind in BINARY else self.refuse(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> str:
        *before, shown = map(self.visit, node.values)
        name = "both" if isinstance(node.op, ast.And) else "either"
        for one in reversed(before):
            shown = f"{name}({one}, () => {shown})"
        return shown

    def visit_Compare(self, node: ast.Compare) -> str:
        sides = [node.left, *node.comparators]
        shown = [self._compared(op, *sides[i : i + 2]) for i, op in enumerate(node.ops)]
        return f"({' && '.join(shown)})"

    def _compared(self, op: Any, left: Any, right: Any) -> str:
        one, other = self.visit(left), self.visit(right)
        if type(op) in ORDER:
            return f"{one} {ORDER[type(op)]} {other}"
        if isinstance(op, ast.In | ast.NotIn):
            return f"{'' if isinstance(op, ast.In) else '!'}has({other}, {one})"
        if not any(self._is_plain(side) for side in (left, right)):
            self.refuse(left, "a comparison of two things of which neither is a string, a number or None")
        return f"{one} {'===' if isinstance(op, ast.Eq | ast.Is) else '!=='} {other}"

    def _is_plain(self, node: Any) -> bool:
        """Whether it is known to be what `===` compares as Python does: tuples are equal by their items there."""
        named = isinstance(node, ast.Name) and node.id not in self.local
        value = self.scope.get(node.id, ()) if named else getattr(node, "value", ())
        return (named or isinstance(node, ast.Constant)) and isinstance(value, str | int | float | None)

    def visit_ListComp(self, node: Any) -> str:
        (over, *more) = node.generators
        if more or over.is_async:
            self.refuse(node)
        items, outside = self.visit(over.iter), set(self.local)
        target = self._target(over.target)
        tests = "".join(f".filter(({target}) => {self.test(one)})" for one in over.ifs)
        shown = f"{items}{tests}.map(({target}) => {self.visit(node.elt)})"
        self.local = outside
        return shown

    visit_GeneratorExp = visit_ListComp

    # ---- calls

    def visit_Call(self, node: ast.Call) -> str:
        if any(isinstance(one, ast.Starred) for one in node.args) or any(one.arg is None for one in node.keywords):
            self.refuse(node)
        given = list(map(self.visit, node.args))
        if isinstance(node.func, ast.Name) and node.func.id not in self.local and node.func.id not in self.scope:
            return self._builtin(node, given)
        if isinstance(node.func, ast.Attribute) and self._module(node.func) is None:
            return self._method(node, node.func, given)
        if isinstance(node.func, ast.Attribute) and self._module(node.func) is math:
            known = node.func.attr in MATH and not node.keywords
            return f"math.{node.func.attr}({', '.join(given)})" if known else self.refuse(node)
        if isinstance(node.func, ast.Name) and node.func.id in self.local:
            self.refuse(node, f"a call of a value: {ast.unparse(node)}")
        called = self.visit(node.func)
        value: Any = self.whole.known[called]
        given = self._in_order(node, value, given)
        return f"{'new ' if isinstance(value, type) else ''}{called}({', '.join(given)})"

    def _builtin(self, node: ast.Call, given: list[str]) -> str:
        name = ast.unparse(node.func)
        strict = [one for one in node.keywords if (one.arg, ast.unparse(one.value)) != ("strict", "True")]
        if name not in BUILTINS or not hasattr(builtins, name) or strict or (name == "zip" and not node.keywords):
            self.refuse(node)
        return f"{name}({', '.join(given)})"

    def _method(self, node: ast.Call, function: ast.Attribute, given: list[str]) -> str:
        if node.keywords:
            self.refuse(node, f"keywords of a method: {ast.unparse(node)}")
        if function.attr == "get":
            return f"get({', '.join([self.visit(function.value), *given])})"
        return f"{self.visit(function)}({', '.join(given)})"

    def _in_order(self, node: ast.Call, value: Any, given: list[str]) -> list[str]:
        """Arguments by name in the order of the parameters, with `undefined` for what has a default."""
        if isinstance(value, type):
            names = list(getattr(value, "_fields", ())) or [one.name for one in fields(value)]
        else:
            given_by = found(value).args
            names = [one.arg for one in (*given_by.posonlyargs, *given_by.args, *given_by.kwonlyargs)]
        by_name = dict(zip(names, given, strict=False)) | {str(one.arg): self.visit(one.value) for one in node.keywords}
        last = max((names.index(name) for name in by_name), default=-1)
        return [by_name.get(name, "undefined") for name in names[: last + 1]]
