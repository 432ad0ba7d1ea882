"""The text, the chart and the numbers of a plan, from records made by hand."""

import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from rich.console import Console

from distill_eval.plan.check import check
from distill_eval.report.plan import expectation, render
from distill_eval.report.plan_chart import Expected, Kept, draw
from distill_eval.report.plan_terminal import print_plan
from distill_eval.report.plan_values import count, duration, short, shown, size, spread
from distill_eval.report.planned import section
from distill_eval.schema.model import ModelRef
from distill_eval.schema.plan import (
    Anchor,
    Figure,
    Hardware,
    MissingTask,
    ModelSizes,
    Parts,
    Plan,
    Retained,
    StudentPlan,
)
from distill_eval.schema.retention import Provenance


def figure(name, value, unit="share", low=None, high=None, basis="estimate"):
    return Figure(name=name, value=value, unit=unit, low=low, high=high, basis=basis, source=f"why {name}")


def sizes(name, total):
    parts = Parts(embeddings=0, attention=total, feed_forward=0, norms=0, head=0, other=0)
    return ModelSizes(
        name=name,
        architecture="It",
        config_source="a folder",
        shape=None,
        vocab_size=10,
        max_length=None,
        parts=parts,
        weight_bytes={"bf16": 2 * total},
        kv_cache=None,
    )


def anchor(compression, retention, **changes):
    made = Anchor(
        key="a",
        teacher="T",
        student="S",
        compression=compression,
        method="logit",
        num_stages=1,
        tokens=None,
        benchmark="B",
        teacher_score=None,
        student_score=None,
        retention=retention,
        source="https://example.org/paper",
    )
    return replace(made, **changes)


@pytest.fixture
def plan():
    """A student that is 4 times smaller, between two published ones."""
    return Plan(
        teacher_ref=ModelRef(name="org/teacher"),
        method="logit",
        teacher=sizes("org/teacher", 4_000_000),
        students=(StudentPlan(sizes=sizes("small", 1_000_000), compression=4.0, why="It is.", prepare="do it"),),
        hardware=Hardware(
            name="box",
            num_devices=1,
            memory_bytes=8_000_000_000,
            flops=1e12,
            bandwidth=1e11,
            price_per_hour=None,
            source="its sheet",
        ),
        training=(
            figure("training.tokens", 2e9, "tokens"),
            figure("training.peak_bytes", 9e9, "bytes"),
            figure("training.seconds", 7200.0, "s", 3600.0, 10800.0),
        ),
        retained=Retained(
            rule=figure("retained.rule", 0.95),
            fit=figure("retained.fit", 0.9, low=0.8, high=0.95),
            fit_text="a line",
            own=figure("retained.own", None),
            tokens=figure("retained.tokens", 5e9, "tokens"),
            anchors=(anchor(2.0, 1.0), anchor(8.0, 0.8), anchor(3.0, 0.1, left_out="told, not measured")),
        ),
        evaluation=(),
        serving=(),
        findings=(),
        provenance=Provenance(command="distill-eval plan", versions={}, hardware="cpu", git_commit=None),
    )


def test_numbers_are_short_and_have_their_unit():
    assert [short(value) for value in (0, 0.0123, 1.0, 999.4, 1234.5, 1.5e7)] == [
        "0",
        "0.0123",
        "1",
        "999",
        "1,234",
        "1.50e+07",
    ]
    assert [size(value) for value in (12, 1500, 2.5e9, 3e12)] == ["12 bytes", "1.5 kB", "2.5 GB", "3 TB"]
    assert [count(value) for value in (500, 6.88e9, 67_398_240)] == ["500", "6.88B", "67.4M"]
    assert [duration(value) for value in (5, 90, 7200, 200_000)] == ["5 s", "1.5 min", "2 h", "2.31 days"]
    assert (shown(figure("x", None)), spread(figure("x", 0.5, low=0.4))) == ("-", "[40.0 %, -]")


def test_the_first_sentence_has_what_a_reader_came_for(plan):
    assert expectation(plan) == (
        "Estimate: a student of 1M parameters (4 times smaller) is expected to keep 90.0 % [80.0 %, 95.0 %] by what "
        "published students kept; 95.0 % by a planner's rule without data behind it. Its training on 2B tokens takes "
        "2 h [1 h, 3 h] on box, and does not fit: 9 GB of 8 GB on a device."
    )


def test_every_figure_has_its_basis_and_source(plan):
    text = render(plan)
    for name in ("training.seconds", "retained.fit", "retained.rule"):
        assert f"estimate: why {name}" in text
    assert ") why retained.own" in text  # without a value, the reason alone
    assert "exact: counted from the config, a folder" in text
    assert "not in the fit: told, not measured" in text
    assert render(plan) == text


def marks(picture):
    found = ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}circle")
    return {one[0].text.partition(":")[0]: (float(one.get("cx")), float(one.get("cy"))) for one in found}


def test_the_chart_has_the_published_the_planned_and_the_readers_own(plan):
    """On a logarithmic axis 4 is halfway between 2 and 8, and 0.9 halfway between 1 and 0.8."""
    whole = replace(plan, retained=replace(plan.retained, anchors=(anchor(2.0, 1.0, teacher="A"), anchor(8.0, 0.8))))
    found = marks(draw(whole, [Expected(2.0, 0.95, 0.9, 1.0), Expected(8.0, 0.85, 0.8, 0.9)], [Kept("mine", 4.0, 0.8)]))
    first, last, planned = found["A to S (logit)"], found["T to S (logit)"], found["the planned student"]
    assert planned == pytest.approx(((first[0] + last[0]) / 2, (first[1] + last[1]) / 2), abs=0.2)
    assert found["mine"] == pytest.approx((planned[0], last[1]), abs=0.2)


def test_what_is_left_out_of_the_fit_is_not_drawn(plan):
    assert not any("10.0 %" in text for text in draw(plan).split("<title>"))
    assert "2 published students" in draw(plan)


def test_a_check_says_how_wrong_a_figure_was():
    right = check("kept", figure("kept", 0.9, low=0.8, high=0.95), 0.75, "retention.json")
    assert (right.error, right.inside) == (pytest.approx(0.2), False)
    assert check("kept", figure("kept", 0.9, low=0.7, high=0.95), 0.75, "x").inside is True
    assert check("kept", figure("kept", 0.9), 0.0, "x").error is None
    unknown = check("memory", figure("memory", 1e9, "bytes"), None, "nobody measured it")
    (text,) = section({"plan.json": (right, unknown)})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    assert rows[2] == ["kept", "90.0 % [80.0 %, 95.0 %] (1)", "75.0 % (2)", "+20.0 %", "no"]
    assert rows[3] == ["memory", "1 GB (3)", "- (4)", "-", "-"]
    assert "nobody measured it" in text
    assert section({}) == []


def test_a_task_of_which_nothing_is_known_has_a_row(plan):
    gone = replace(plan, missing_tasks=(MissingTask(task="gone", reason="its data is not there"),))
    (row,) = (line for line in render(gone).splitlines() if line.startswith("| gone "))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["- (1)"] * 4
    assert "- (1) its data is not there" in render(gone)
    console = Console(width=100, file=io.StringIO())
    print_plan(gone, console)
    (told,) = (line for line in console.file.getvalue().splitlines() if line.startswith("gone"))
    assert told.split() == ["gone", *["-"] * 4]
