"""Frozen records and their JSON codec: the one way in which stages hand facts to each other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, dataclass_transform

from distill_eval.errors import ArtifactError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

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
        details = "; ".join(f"{'.'.join(str(part) for part in e['loc']) or 'file'}: {e['msg']}" for e in error.errors())
        raise ArtifactError(f"{source} is not a valid {cls.__name__}: {details}") from error
    return value
