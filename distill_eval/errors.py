"""What can go wrong, and how it is said.

    DistillEvalError            exit code 1: one message, no traceback
    ├── UsageError              exit code 2: the command line or a config is wrong
    ├── ModelError              a model cannot be found, read or trusted, or gives NaN
    ├── ServerError             a server of ours does not start, or ends before its work is done
    ├── TaskError               a task is unknown, empty, or its data cannot be had
    ├── DataError               training data cannot be had, is empty, or does not hold what it should
    ├── TrainingError           a training cannot go on: too many batches without a finite loss
    ├── ArtifactError           a file of ours is missing, damaged or of another schema
    ├── NotComparableError      two runs differ in what must be equal
    ├── StageError              a stage of a recipe failed, and what needs it was not run
    ├── PublishError            the Hub or a tracker does not take what it is sent
    └── StoreError              the cache or the output folder cannot be written

A message says what happened, what was expected, and what to type next. Anything else that escapes is a bug
and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn


class DistillEvalError(Exception):
    """Raised for every failure that the user can understand and act on."""

    exit_code = 1


class UsageError(DistillEvalError, ValueError):
    """Raised when an option or a config value is not acceptable, before any work starts."""

    exit_code = 2


class ModelError(DistillEvalError):
    """Raised when a model cannot be found, loaded or trusted, or when its outputs are not numbers."""


class ServerError(DistillEvalError):
    """Raised when a server that we start cannot be started, or ends too early."""


class TaskError(DistillEvalError):
    """Raised when a task is unknown or empty, or when its data cannot be had."""


class DataError(DistillEvalError):
    """Raised when training data cannot be had, is empty, or does not hold text or conversations."""


class TrainingError(DistillEvalError):
    """Raised when a training comes to nothing with its settings: with others it may."""


class ArtifactError(DistillEvalError):
    """Raised when an artifact is missing, damaged, or not of the expected schema."""


class NotComparableError(DistillEvalError):
    """Raised when two evaluations differ in something that must be equal for a comparison."""


class StageError(DistillEvalError):
    """Raised when a stage of a recipe failed; the stages before it are kept."""


class PublishError(DistillEvalError):
    """Raised when the Hub or a tracker refuses what it is sent, or cannot be reached."""


class StoreError(DistillEvalError):
    """Raised when the evaluation cache or an output folder cannot be read or written."""


@contextmanager
def boundary(error: type[DistillEvalError], what: str) -> Iterator[None]:
    """Attribute whatever escapes a foreign library to us: `what` names the action, the original is chained.

    The only place of the package that catches every exception, and it always raises again.
    """
    try:
        yield
    except DistillEvalError:
        raise
    except Exception as cause:
        lines = str(cause).strip().splitlines()
        first = lines[0] if lines else type(cause).__name__
        raise error(f"{what}: {type(cause).__name__}: {first}") from cause


def require(condition: bool, message: str) -> None:
    """Raise `UsageError(message)` unless the condition holds."""
    if not condition:
        raise UsageError(message)


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """The known names that look most like `name`, best first; possibly none."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)


def unknown(what: str, name: str, known: Iterable[str], *, error: type[DistillEvalError] = UsageError) -> NoReturn:
    """Raise `error` for an unknown name, with the nearest known ones (or the whole list when it is short)."""
    names = sorted(known)
    guesses = nearest(name, names)
    hint = f" Did you mean {' or '.join(repr(guess) for guess in guesses)}?" if guesses else ""
    listing = f" Known: {', '.join(names)}" if len(names) <= 20 else ""
    raise error(f"unknown {what} {name!r}.{hint}{listing}")
