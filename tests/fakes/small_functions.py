"""Functions in the subset that `to_js` translates, one for each thing that means something else in JavaScript."""

import math
from typing import NamedTuple

from distill_eval.record import record

LIMIT = 7
BY_NAME = {"low": (1, 2), "high": (3, 4)}


@record
class Sides:
    width: int
    height: int = 3

    @property
    def area(self):
        return self.width * self.height

    def scaled(self, by):
        return Sides(height=self.height * by, width=self.width * by)


class Point(NamedTuple):
    x: float
    y: float = 2.0


def floors(a, b):
    return a // b, a % b, int(a / b)


def looks_up(name, is_second):
    pair = BY_NAME.get(name)
    return None if pair is None else pair[is_second == "yes"] + BY_NAME["low"][-1]


def falls_through(items, other):
    return (items or other), (items and other), not items


def chained(low, x, high):
    return (low < x <= high and x in (2, 4, 6)) or x == LIMIT


def adds_up(rows):
    total = 0.0
    for i, row in enumerate(rows):
        for left, right in zip(row, row, strict=True):
            total += i * left**2 - right / 4
    return total


def counts(limit):
    found = 1
    while found * 3 <= limit:
        found *= 3
    return found


def keeps(values, *, least=0, most=LIMIT):
    return [one + 1 for one in values if least <= one <= most]


def by_name(a):
    return keeps(most=a, values=[5, 6, 7, 8], least=6)


def extremes(values):
    return max(values), min(values), sum(values), len(values), abs(min(values))


def records(width):
    sides = Sides(width=width).scaled(2)
    point = Point(1.5)
    return sides.area + point.y, (width < LIMIT) + 1


def logarithms(x):
    return math.log2(x), math.log(x), math.sqrt(x), math.exp(-x), math.ceil(x), math.floor(-x)


def divides(a, b):
    return a / b


# ---- outside


def formats(x):
    return f"{x}"


def rounds(x):
    return round(x)


def compares(a, b):
    return a == b


def nested(x):
    def inside():
        return x

    return inside()


def unknown_member(x):
    return x.nothing_has_this


def spreads(*values):
    return values
