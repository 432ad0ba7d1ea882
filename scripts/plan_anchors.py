"""Writes docs/anchors.md: the published distillations of `distill-eval plan`, and how well a fit of them predicts.

python scripts/plan_anchors.py

tests/unit/plan/test_anchors.py fails when the stored page is not what this writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from distill_eval.plan.anchors import anchors
from distill_eval.plan.expected import (
    FEWEST,
    LEVELS,
    TELLABLE,
    TERMS,
    anchors_fit,
    fit_text,
    reach,
    unseen,
    used_anchors,
    whose,
)
from distill_eval.schema.plan import Anchor

PAGE = Path(__file__).resolve().parents[1] / "docs" / "anchors.md"

Back = Callable[[np.ndarray], np.ndarray]
FORMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Back]] = {
    "retention": (lambda kept: kept, lambda value: value),
    "ln retention": (np.log, np.exp),
    "logit": (
        lambda kept: np.log(np.minimum(kept, 1 - TELLABLE) / (1 - np.minimum(kept, 1 - TELLABLE))),
        lambda value: 1 / (1 + np.exp(-value)),
    ),
    "ln loss": (lambda kept: np.log(np.maximum(1 - kept, TELLABLE)), lambda value: 1 - np.exp(value)),
}
"""What may be linear in the terms: the transform of retention, and back."""
DESIGNS: dict[str, Callable[[float, float, float, float], Sequence[float]]] = {
    "one mean": lambda x, prompted, attention, feature: (1,),
    "log2 r": lambda x, prompted, attention, feature: (1, x),
    "log2 r, prompted": lambda x, prompted, attention, feature: (1, x, prompted),
    "log2 r, attention": lambda x, prompted, attention, feature: (1, x, attention),
    "a line each for prompted and fine-tuned": lambda x, prompted, attention, feature: (1, prompted, x, prompted * x),
    "the same, attention": lambda x, prompted, attention, feature: (1, prompted, x, prompted * x, attention),
    "the same, attention, feature": lambda x, prompted, attention, feature: (
        1,
        prompted,
        x,
        prompted * x,
        attention,
        feature,
    ),
}
"""The terms that were tried, of log2 of the compression and of what an anchor is."""
KINDS = (True, False)
"""Fine-tuned, and prompted."""
TRIED_MORE = ("ln loss, by publication", *(f"ln loss, {whose(fine_tuned=kind)}" for kind in KINDS))
"""Columns after those of the forms."""


def design(name: str, used: Sequence[Anchor]) -> np.ndarray:
    """A row of terms per anchor."""
    return np.array(
        [
            DESIGNS[name](
                float(np.log2(one.compression)), not one.fine_tuned, one.method == "attention", one.method == "feature"
            )
            for one in used
        ],
        dtype=float,
    )


def errors(form: str, name: str, used: Sequence[Anchor], *, together: Callable[[Anchor], str]) -> np.ndarray:
    """Predicted less published retention, each group of anchors predicted by the others."""
    kept = np.array([one.retention for one in used])
    there, back = FORMS[form]
    X, y, groups = design(name, used), there(kept), np.array([together(one) for one in used])
    off = np.zeros(len(used))
    for group in np.unique(groups):
        out = groups == group
        coefficients = np.linalg.lstsq(X[~out], y[~out], rcond=None)[0]
        off[out] = back(X[out] @ coefficients) - kept[out]
    return off


def root_mean_square(off: np.ndarray) -> float:
    """Of errors."""
    return float(np.sqrt(np.mean(off**2)))


def publication(one: Anchor) -> str:
    """Where its numbers stand first: anchors of one publication are alike."""
    return one.source.split(";")[0]


INTRO = """What students kept of their teachers: {used} published results that the fit of `distill-eval plan` is over,
and {beside} beside it. The compression is of published parameter counts; a score of several tasks is their plain mean.
A literature reports what went well."""
TRIED = """Root mean square of predicted less published retention, each anchor predicted by the fit without it; by
publication: without its whole publication; in the last two columns of the anchors of one kind. The lowest over
all anchors, of all forms and terms, was taken."""
REACH = """It has a value from the smallest to the largest compression of a kind and method that has {fewest} anchors or
more, and nowhere else: what a method changes is known where its own points are."""


def render() -> str:
    """The page."""
    used, all_ = used_anchors(), anchors()
    beside = [one for one in all_ if one.left_out is not None]
    return "\n".join(
        [
            "# Published distillations",
            "",
            "<!-- Written by scripts/plan_anchors.py from distill_eval/plan/anchors.toml. -->",
            "",
            INTRO.format(used=len(used), beside=len(beside)),
            "",
            *_table(used),
            "",
            "## Beside the fit",
            "",
            *_table(beside, last="why"),
            "",
            "## The fit",
            "",
            f"{fit_text()}.",
            "",
            f"| kind | anchors | off | {' | '.join(f'inside their own {100 * level:.0f} %' for level in LEVELS)} |",
            "|---|---|---|" + "---|" * len(LEVELS),
            *map(_unseen, KINDS),
            "",
            REACH.format(fewest=FEWEST),
            "",
            "| kind | method | anchors | from (times smaller) | to | the fit has a value |",
            "|---|---|---|---|---|---|",
            *(row for kind in KINDS for row in _reach(kind)),
            "",
            "| term | coefficient | standard error |",
            "|---|---|---|",
            *(
                f"| {term} | {value:.3f} | {anchors_fit().stderr(i):.3f} |"
                for i, (term, value) in enumerate(zip(TERMS, anchors_fit().coefficients, strict=True))
            ),
            "",
            "## What else was tried",
            "",
            TRIED,
            "",
            f"| terms | {' | '.join([*FORMS, *TRIED_MORE])} |",
            "|---|" + "---|" * (len(FORMS) + len(TRIED_MORE)),
            *(_tried(name, used) for name in DESIGNS),
            "",
        ]
    )


def _unseen(kind: bool) -> str:
    found = unseen(fine_tuned=kind)
    inside = [f"{number} of {found.num_anchors}" for number in found.num_inside]
    return f"| {' | '.join([whose(fine_tuned=kind), str(found.num_anchors), f'{found.off:.4f}', *inside])} |"


def _reach(kind: bool) -> list[str]:
    rows = []
    for method, its in reach(fine_tuned=kind).items():
        cells = [whose(fine_tuned=kind), method, str(its.num_points), f"{its.least:.2f}", f"{its.most:.2f}"]
        rows.append(f"| {' | '.join([*cells, 'yes' if its.speaks else 'no'])} |")
    return rows


def _tried(name: str, used: Sequence[Anchor]) -> str:
    alone = {form: errors(form, name, used, together=lambda one: one.key) for form in FORMS}
    published = errors("ln loss", name, used, together=publication)
    kinds = [np.array([one.fine_tuned == kind for one in used]) for kind in KINDS]
    off = [*alone.values(), published, *(alone["ln loss"][mask] for mask in kinds)]
    return f"| {name} | {' | '.join(f'{root_mean_square(one):.4f}' for one in off)} |"


def _table(those: Sequence[Anchor], *, last: str | None = None) -> list[str]:
    columns = ["teacher", "student", "times smaller", "method", "tokens", "benchmark", "its score", "the student's"]
    columns += ["kept", "source", *([] if last is None else [last])]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *map(_row, those)]


def _row(one: Anchor) -> str:
    scores = ["-" if score is None else f"{score:g}" for score in (one.teacher_score, one.student_score)]
    tokens = "-" if one.tokens is None else f"{one.tokens / 1e9:g}B"
    method = one.method if one.num_stages == 1 else f"{one.method}, {one.num_stages} steps"
    cells = [one.teacher, one.student, f"{one.compression:.2f}", method, tokens, one.benchmark, *scores]
    cells += [f"{100 * one.retention:.1f} %", _linked(one.source), *([] if one.left_out is None else [one.left_out])]
    return f"| {' | '.join(cells)} |"


def _linked(source: str) -> str:
    """A source with its addresses as short links."""
    short = re.sub(r"https://([^/\s]+)(/[^\s;,)]*)?", lambda found: f"[{found[1]}]({found[0]})", source)
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", short)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE}")
