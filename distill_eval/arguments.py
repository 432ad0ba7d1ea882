"""From a command line to a config, by tyro; what is refused is said in our words."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from distill_eval.errors import UsageError

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

_LISTS: dict[Any, tuple[Callable[[str], Any], str]] = {
    str: (str, "NAME"),
    int: (int, "NUMBER"),
    Path: (Path, "FOLDER"),
}
"""What is written with commas between, and how one of it is called."""


def read(kinds: Any, argv: Sequence[str]) -> Any:
    """The one of these configs that the command line stands for.

    Raises:
        SystemExit: 0 after `--help`, 2 when the command line is wrong in tyro's terms.
        UsageError: a value is not acceptable.
    """
    try:
        with redirect_stderr(io.StringIO()):  # for a refusal of ours, tyro's box would name its inner fields
            return _read(kinds, argv)
    except SystemExit as stop:
        if not stop.code:
            raise
        error = _own_error(stop)
        if error is not None:
            raise error from None
    return _read(kinds, argv)  # once more: tyro says what is wrong, and exits


def _own_error(error: BaseException) -> UsageError | None:
    """The refusal of ours for which tyro exited, if it was one."""
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, UsageError):
            return error
    return None


def _read(kinds: Any, argv: Sequence[str]) -> Any:
    import tyro

    return tyro.cli(
        kinds,
        prog="distill-eval",
        description="Prove what a distilled language model kept of its teacher.",
        args=list(argv),
        registry=_comma_lists(),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )


def _comma_lists() -> ConstructorRegistry:
    """Lists are written as lm-eval's users write them: `--tasks mmlu,lambada_openai`; but for those without a flag."""
    from tyro.conf import Positional
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def comma_list(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[tuple[Any, ...]] | None:
        is_list = get_origin(info.type) is tuple and get_args(info.type)[1:] == (...,)
        found = _LISTS.get(get_args(info.type)[0]) if is_list else None
        if found is None or Positional in info.markers:
            return None
        read, name = found
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{name}[,{name}...]",
            instance_from_str=lambda args: tuple(read(part.strip()) for part in args[0].split(",")),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda value: [",".join(map(str, value))],
        )

    return registry
