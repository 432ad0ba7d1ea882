"""Frozen records and their JSON codec: the one way in which stages hand facts to each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform, get_args, get_type_hints

from distill_eval.errors import ArtifactError, UsageError, nearest

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def record(cls: type[T]) -> type[T]:
    """A frozen, keyword-only, slotted dataclass whose unknown fields are refused when it is read from JSON."""
    cls.__pydantic_config__ = {"extra": "forbid", "strict": True, "use_attribute_docstrings": True}  # type: ignore[attr-defined]
    return dataclass(frozen=True, kw_only=True, slots=True)(cls)


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}
"""Building one takes a tenth of a second."""


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # 0.1 s: only what reads or writes an artifact pays for it

    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def to_jsonable(value: object) -> Any:
    """The record as plain dicts, lists, strings and numbers."""
    return _adapter(type(value)).dump_python(value, mode="json")


def to_json(value: object) -> str:
    """The record as indented JSON with a final newline; the same record gives the same text.

    Raises:
        ValueError: a float is NaN or infinite. An undefined number is `None` with a reason, never NaN.
    """
    return json.dumps(to_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_json_line(value: object) -> str:
    """The record as one line of JSON, for files with a record per line."""
    return json.dumps(to_jsonable(value), ensure_ascii=False, allow_nan=False) + "\n"


def from_json(cls: type[T], text: str | bytes, *, source: str) -> T:
    """Read a record strictly: no unknown keys, no coercion between types.

    Args:
        source: What `text` is, for the message (a path).

    Raises:
        ArtifactError: the text is not JSON, or not this record; every offending key is named.
    """
    from pydantic import ValidationError

    try:
        value: T = _adapter(cls).validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"{source} is not a valid {cls.__name__}: {_problems(cls, error)}") from error
    return value


def from_table(cls: type[T], table: Mapping[str, Any], *, source: str) -> T:
    """Read a record from what `tomllib` gives, as strictly as `from_json`.

    Raises:
        UsageError: it is not this record; every offending key is named with its dotted path.
    """
    from pydantic import ValidationError

    try:
        value: T = _adapter(cls).validate_json(json.dumps(table, default=str))  # a TOML date becomes text
    except ValidationError as error:
        raise UsageError(f"{source}: {_problems(cls, error)}") from error
    return value


DIGITS = 12
"""Significant digits of a computed number in an artifact, of 16: the last bits of a float differ between machines and
with the order of a sum."""


def digits(value: float | None) -> float | None:
    """To `DIGITS` significant digits; `None` for what is not a finite number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")


def to_toml(table: Mapping[str, Any]) -> str:
    """A table of strings, numbers, booleans, tables and lists of these as TOML, without what is `None`."""
    return "\n".join(_toml_lines(table, ())) + "\n"


def flat(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The values of nested tables by their dotted path."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= flat(value, f"{above}{name}.") if isinstance(value, dict) else {above + name: value}
    return found


def changed(value: object) -> dict[str, Any]:
    """What a record says besides its defaults, by dotted path."""
    defaults = _defaults(value)
    return {name: found for name, found in flat(to_jsonable(value)).items() if found != defaults.get(name, _NO_DEFAULT)}


_NO_DEFAULT = object()


def _defaults(value: Any, above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(value):
        inner = getattr(value, field.name)
        if is_dataclass(inner):
            found |= _defaults(inner, f"{above}{field.name}.")
        elif field.default is not MISSING:
            found[above + field.name] = list(field.default) if isinstance(field.default, tuple) else field.default
    return found


def _problems(cls: type[Any], error: ValidationError) -> str:
    """Every offending key with its dotted path; an unknown one with the known name that looks most like it."""
    lines = []
    for found in error.errors():
        where, message = found["loc"], found["msg"].removeprefix("Value error, ")
        if found["type"] == "unexpected_keyword_argument":
            known = nearest(str(where[-1]), _names(cls, where[:-1]), count=1)
            message = f"unknown key.{f' Did you mean {known[0]!r}?' if known else ''}"
        lines.append(f"{'.'.join(map(str, where)) or 'file'}: {message}")
    return "; ".join(lines)


def _names(cls: Any, where: Sequence[str | int]) -> list[str]:
    """The fields of the record at this place inside of another."""
    for part in where:
        if isinstance(part, str) and is_dataclass(cls):
            hint = get_type_hints(cls).get(part)
            cls = next((kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)), hint)
    return [field.name for field in fields(cls)] if is_dataclass(cls) else []


def _toml_lines(table: Mapping[str, Any], above: tuple[str, ...]) -> list[str]:
    said = {name: value for name, value in table.items() if value is not None}
    lines = [f"{name} = {toml_value(value)}" for name, value in said.items() if not _has_tables(value)]
    for name, value in said.items():
        path = ".".join((*above, name))
        if isinstance(value, Mapping):
            lines += ["", f"[{path}]", *_toml_lines(value, (*above, name))]
        elif _has_tables(value):
            for one in value:
                lines += ["", f"[[{path}]]", *_toml_lines(one, (*above, name))]
    return lines


def _has_tables(value: Any) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value))


def toml_value(value: Any) -> str:
    """A string, a number, a truth value or a list of them as TOML."""
    # A JSON string, number or list of them is TOML too, but for the one control character that JSON does not escape.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")
