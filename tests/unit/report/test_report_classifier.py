"""A classifier's table: every figure in its place, and what is unknown as such."""

from dataclasses import replace
from io import StringIO

from rich.console import Console
from unit.report.made import trained, validation

from distill_eval.report.classifier import print_finished, sections
from distill_eval.report.training import render
from distill_eval.schema.distill import Classification, ClassifierFigures, Paired


def figures(**changes):
    values = {
        "model": "folder/name",
        "num_parameters": 22_715_526,
        "size_bytes": 90_900_000,
        "accuracy": 0.912,
        "accuracy_ci_low": 0.9,
        "accuracy_ci_high": 0.923,
        "macro_f1": 0.874,
        "num_texts": 2000,
        "latency_p50_ms": 12.34,
        "latency_p95_ms": 20.06,
        "num_requests": 200,
        "resident_bytes": 600_000_000,
        "resident_before_bytes": 480_000_000,
        "num_threads": 2,
        "unmeasured": None,
        "paired": None,
    }
    return ClassifierFigures(**values | changes)


def classification(student=None, **changes):
    teacher = figures(paired=Paired(num_pairs=2000, num_only_teacher=40, num_only_student=10, p_value=2.4e-5))
    values = {
        "labels": ("a", "b"),
        "num_labeled": (5, 5),
        "measured_on": "org/data (test)",
        "is_validation": False,
        "device": "cpu",
        "student": student or figures(model="out", num_parameters=12_300_000, accuracy=0.897),
        "teachers": (teacher,),
    }
    return Classification(**values | changes)


def test_every_figure_stands_in_its_column():
    [text] = sections(labeled(classification()))
    lines = text.splitlines()
    assert lines[0] == "## The classifier on 2,000 texts: org/data (test)"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells[2] == ["teacher name", "22.7M", "90.9", "91.2", "90.0-92.3", "87.4", "12.3", "20.1", "600 (120)"]
    assert cells[3][:4] == ["student", "12.3M", "90.9", "89.7"]
    assert "teacher 40, student 10 of 2,000 texts (exact McNemar, p = 2.4e-05)" in text
    assert "200 requests after a warm-up, on cpu with 2 threads" in text
    assert "validation" not in text


def test_what_was_not_measured_is_a_dash_and_a_reason():
    unknown = dict.fromkeys(
        ("latency_p50_ms", "latency_p95_ms", "resident_bytes", "resident_before_bytes", "num_threads")
    )
    student = figures(num_requests=0, unmeasured="--no-measure-speed", **unknown)
    [text] = sections(labeled(classification(student, is_validation=True)))
    assert text.count("| -") >= 3
    assert "Latency and memory not measured: --no-measure-speed." in text
    assert "These are the validation texts" in text


def labeled(found):
    before, after = (replace(validation(2.0), accuracy=share, macro_f1=share / 2) for share in (0.5, 0.9))
    return trained(classification=found, before=before, after=after, teacher_validation=replace(after, accuracy=0.95))


def test_the_terminal_has_the_same_rows():
    out = StringIO()
    print_finished(labeled(classification()), Console(file=out, width=120))
    assert "12.3M" in out.getvalue()
    assert "600 (120)" in out.getvalue()
    assert "Validation accuracy 0.5000 -> 0.9000" in out.getvalue()


def test_the_text_of_a_training_speaks_of_labels():
    text = render({"student": labeled(classification())})
    assert "Accuracy on the validation text went from 0.50 to 0.90 (teacher: 0.95)" in text
    assert "| accuracy " in text
    assert "## The classifier on 2,000 texts" in text
    assert "per token" not in text.partition("## Training")[0]
    assert "accuracy" not in render({"student": trained()})
    assert sections(trained()) == []
