"""What a sweep varies: values to choose from, or a range to draw from, by the name of the option."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from distill_eval.distill.config import DistillConfig
from distill_eval.errors import UsageError

if TYPE_CHECKING:
    from optuna import Trial

Value = float | str
Point = Mapping[str, Value]
"""A value for each option that is varied."""


class Dimension(NamedTuple):
    """One option that is varied."""

    name: str
    """`loss`, `temperature`, `alpha` or `learning_rate`."""
    flag: str
    values: tuple[Value, ...]
    """What to choose from; of a range, both ends."""
    is_range: bool = False

    def draw(self, trial: Trial) -> Value:
        """What Optuna wants to try; a trial that has its value already keeps it."""
        if not self.is_range:
            chosen = trial.suggest_categorical(self.name, list(self.values))
            assert isinstance(chosen, float | str)
            return chosen
        low, high = map(float, self.values)
        return trial.suggest_float(self.name, low, high, log=self.name == "learning_rate")


def dimension(name: str, flag: str, texts: Sequence[str]) -> Dimension:
    """Read the values of one option: `1,2,4`, or the range `1:4`.

    Raises:
        UsageError: they are no numbers, or a range is not from a smaller to a larger one.
    """
    if name == "loss":
        return Dimension(name, flag, tuple(dict.fromkeys(texts)))
    ends = texts[0].split(":")
    is_range = len(texts) == 1 and len(ends) == 2
    numbers = tuple(dict.fromkeys(_number(text, flag, texts) for text in (ends if is_range else texts)))
    if is_range and (len(numbers) < 2 or numbers[0] > numbers[1]):
        raise UsageError(f"{flag} {texts[0]}: expected a range from a smaller to a larger number, e.g. 1e-5:1e-3")
    return Dimension(name, flag, numbers, is_range)


def _number(text: str, flag: str, texts: Sequence[str]) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{flag} {','.join(texts)}: expected numbers (1,2,4) or one range (1:4)")
    return number


def points(dimensions: Sequence[Dimension]) -> Iterator[dict[str, Value]]:
    """All combinations, the last option varied fastest; of ranges, those of their ends."""
    names = [one.name for one in dimensions]
    for chosen in itertools.product(*(one.values for one in dimensions)):
        yield dict(zip(names, chosen, strict=True))


def at(config: DistillConfig, point: Point) -> DistillConfig:
    """The run with these values.

    Raises:
        UsageError: a value is not acceptable.
    """
    options = dict(point)
    rate = float(options.pop("learning_rate", config.training.learning_rate))
    return replace(
        config,
        loss=replace(config.loss, **options),  # type: ignore[arg-type]  # `loss` is text, the others are numbers
        training=replace(config.training, learning_rate=rate),
    )
