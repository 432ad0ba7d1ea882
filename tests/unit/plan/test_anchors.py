"""The published results and the page that shows them."""

import math

import numpy as np
import plan_anchors
import pytest

from distill_eval.plan.anchors import anchors
from distill_eval.plan.expected import TELLABLE, used_anchors


def test_the_page_is_what_the_script_writes():
    assert plan_anchors.PAGE.read_text(encoding="utf-8") == plan_anchors.render(), "run scripts/plan_anchors.py"


def test_enough_of_them_have_a_source_that_can_be_opened():
    assert len(used_anchors()) == 35
    assert all(one.source.startswith(("https://", "arXiv ")) for one in used_anchors())
    assert all(one.left_out for one in anchors() if not one.source.startswith(("https://", "arXiv ")))


def test_they_are_what_was_published():
    named = {one.key: one for one in anchors()}
    assert len(named) == len(anchors()) == 43
    assert named["distilbert"].retention == pytest.approx(77.0 / 79.5)
    assert named["distilbert"].compression == pytest.approx(110 / 66)
    assert named["minitron-4b-width"].retention == pytest.approx(0.926, abs=5e-4)
    assert named["minitron-4b-depth"].retention == pytest.approx(0.899, abs=5e-4)
    assert named["minitron-4b-width"].tokens == 94e9
    assert named["nemotron-51b"].retention == 0.984
    assert named["deepseek-r1-qwen-1-5b"].student_score == pytest.approx((28.9 + 83.9 + 33.8 + 16.9) / 4, abs=5e-3)
    assert named["torchtune-llama-1b"].teacher_score == pytest.approx((54.75 + 79.51 + 77.89) / 3, abs=5e-3)
    assert named["bert-pkd-6"].student_score == pytest.approx(
        ((81.5 + 81.0) / 2 + 70.7 + 89.0 + 92.0 + 85.0 + 65.5) / 6, abs=6e-3
    )


def table(heading):
    """Cells of the first table under a heading of the page, without its head."""
    lines = plan_anchors.PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    return rows[2:]


def test_the_table_of_forms_by_refitting_without_each_anchor():
    """The terms that were taken, and the mean, in the form that was taken; by numpy's own solver."""
    used = used_anchors()
    kept = np.array([one.retention for one in used])
    halvings = np.array([math.log2(one.compression) for one in used])
    prompted = np.array([not one.fine_tuned for one in used], dtype=float)
    methods = [np.array([one.method == name for one in used], dtype=float) for name in ("attention", "feature")]
    taken = np.column_stack([np.ones(len(used)), prompted, halvings, prompted * halvings, *methods])
    shown = {row[0]: [float(cell) for cell in row[1:]] for row in table("What else was tried")}
    for name, terms in (("the same, attention, feature", taken), ("one mean", taken[:, :1])):
        errors = []
        for out in range(len(used)):
            rest = np.arange(len(used)) != out
            target = np.log(np.maximum(1 - kept[rest], TELLABLE))
            normal = np.linalg.solve(terms[rest].T @ terms[rest], terms[rest].T @ target)
            errors.append(1 - np.exp(terms[out] @ normal) - kept[out])
        assert shown[name][3] == pytest.approx(np.sqrt(np.mean(np.square(errors))), abs=5e-5)


def test_no_other_form_or_terms_that_were_tried_predict_better():
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in table("What else was tried")}
    taken = rows["the same, attention, feature"]
    assert taken[3] == min(cell for row in rows.values() for cell in row[:4])
    assert taken[4] == min(row[4] for row in rows.values())


def test_the_errors_of_the_kinds_are_those_of_the_table_of_forms():
    """Weighed by their anchors, the squares of both kinds are those of all."""
    number = {True: sum(one.fine_tuned for one in used_anchors())}
    number[False] = len(used_anchors()) - number[True]
    for row in table("What else was tried"):
        together, encoders, prompted = (float(row[place]) for place in (4, 6, 7))
        squares = number[True] * encoders**2 + number[False] * prompted**2
        assert squares == pytest.approx(len(used_anchors()) * together**2, rel=2e-3)


def test_a_training_in_two_steps_says_so():
    page = plan_anchors.PAGE.read_text(encoding="utf-8")
    assert "| a model of 1.5B, by way of 3B | 4.67 | progressive, 2 steps |" in page
    assert page.count(" steps |") == sum(one.num_stages > 1 for one in anchors()) == 1
