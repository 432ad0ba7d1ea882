"""Which layer of the student is compared with which of the teacher: the text of `--layer-map` (pure)."""

from __future__ import annotations

import re

from distill_eval.errors import require

NAMES = ("uniform", "last")
_PAIR = re.compile(r"(\d+):(\d+)")
_EXPECTED = "expected uniform, last, or pairs STUDENT:TEACHER of layers from 0, such as 0:1,5:11"


def check_syntax(text: str) -> None:
    """Refuse what no two models could make valid.

    Raises:
        UsageError: it is neither a name nor a list of pairs, or a layer of the student comes twice.
    """
    if text in NAMES:
        return
    pairs = [_PAIR.fullmatch(item.strip()) for item in text.split(",")]
    require(all(pairs), f"--layer-map {text!r}: {_EXPECTED}")
    students = [int(pair[1]) for pair in pairs if pair]
    twice = sorted({layer for layer in students if students.count(layer) > 1})
    require(not twice, f"--layer-map {text!r} names layer {', '.join(map(str, twice))} of the student more than once")


def layer_pairs(text: str, num_student: int, num_teacher: int) -> tuple[tuple[int, int], ...]:
    """Pairs of layers, student's and teacher's, from 0.

    `uniform` divides the teacher into as many spans as the student has layers and takes the end of each, so that the
    last layers meet (TinyBERT, Jiao et al. 2020, arXiv 1909.10351, section 3.1); `last` is the last layers alone.

    Raises:
        UsageError: the syntax is wrong, or a layer does not exist.
    """
    check_syntax(text)
    if text == "last":
        return ((num_student - 1, num_teacher - 1),)
    if text == "uniform":
        ends = ((layer + 1) * num_teacher / num_student for layer in range(num_student))
        return tuple((layer, max(0, round(end) - 1)) for layer, end in enumerate(ends))
    pairs = [(int(student), int(teacher)) for student, teacher in _PAIR.findall(text)]
    for student, teacher in pairs:
        for role, layer, count in (("student", student, num_student), ("teacher", teacher, num_teacher)):
            require(layer < count, f"--layer-map {text!r}: the {role}'s layers are 0 to {count - 1}, not {layer}")
    return tuple(pairs)
