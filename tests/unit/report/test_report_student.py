"""`student.md` and `layers.svg`: golden files, what the numbers mean, and hostile names."""

from dataclasses import replace

import pytest
from unit.report.made import HOSTILE, IMPORTANCE, dropped, fresh, group, narrowed
from unit.report.pictures import find, heights, parse, texts
from unit.report.read import assert_golden, assert_nothing_foreign_is_markup, tables

from distill_eval.record import from_json, to_json
from distill_eval.report.student import draw, files, render
from distill_eval.schema.model import ModelRef
from distill_eval.schema.student import CalibrationLoss, StudentInit

EXAMPLES = {"narrowed": narrowed, "dropped": dropped, "fresh": fresh}


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden(name):
    student = EXAMPLES[name]()
    for file, text in files(student).items():
        assert_golden(f"{name}_{file}", text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_record_gives_the_same_bytes(name):
    student = EXAMPLES[name]()
    assert files(from_json(StudentInit, to_json(student), source="memory")) == files(student)


def test_dropped_layers_are_hollow_bars_and_the_first_one_is_a_tower():
    root = parse(draw(narrowed()))
    found = heights(root, "mark hollow")
    assert list(found) == ["layer 2, dropped: 0.0300", "layer 4, dropped: 0.0250"]
    stays = [name for name in heights(root, "mark s0") if "stays" in name]
    assert stays == [
        "layer 0, stays: 0.900",
        "layer 1, stays: 0.200",
        "layer 3, stays: 0.0600",
        "layer 5, stays: 0.120",
    ]
    assert "0.900" in texts(root)  # cut at 4 times the median of 0.09
    assert len(find(root, "line", "break")) == 1


def test_layers_that_are_alike_are_not_cut():
    even = narrowed(layer_importance=(0.1, 0.2, 0.3, 0.1, 0.2, 0.3))
    assert not find(parse(draw(even)), "line", "break")


def test_channels_are_drawn_in_percent_of_their_layer():
    root = parse(draw(narrowed()))
    shares = [name for name in heights(root, "mark") if "heads" in name or "ffn" in name]
    assert shares[:4] == ["layer 0, heads: 10.0", "layer 0, ffn: 10.0", "layer 1, heads: 11.0", "layer 1, ffn: 11.0"]
    assert len(shares) == 8
    assert "hidden, all layers 5.00" in texts(root)


def test_what_was_never_active_has_no_share():
    student = narrowed(channels=(group("ffn", 0, None), group("ffn", 1, 0.2)))
    assert [name for name in heights(parse(draw(student)), "mark") if "layer 1" in name][-1] == "layer 1: 20.0"
    assert tables(render(student))["Channels"][1][3] == "-"


def test_nothing_ranked_is_no_picture_and_says_so():
    for student in (dropped(), fresh()):
        assert list(files(student)) == ["student.md"]
        assert "![" not in render(student)
    assert "given as a list" in render(dropped())
    assert "begun with the teacher's where they fit" in render(fresh())


def test_the_tables_say_what_the_record_says():
    found = tables(render(narrowed()))
    sizes = {row[0]: row[1:] for row in found["A student of teacher@v1, before training"][1:]}
    assert sizes["parameters"] == ["1,000,000", "495,000", "49.5 %"]
    assert sizes["layers"] == ["6", "4", "66.7 %"]
    assert sizes["calibration loss (nats per token)"] == ["3.123", "5.679", ""]
    layers = found["Layers"][1:]
    assert [row[1] for row in layers] == ["0", "1", "dropped", "2", "dropped", "3"]
    assert [row[2] for row in layers] == [f"{value:.4f}" for value in IMPORTANCE]
    assert [row[3] for row in layers] == ["1", "2", "5", "4", "6", "3"]
    assert found["Channels"][1] == ["hidden channels", "all", "120 of 160", "5.0 %", "0.5", "0.125"]


def test_a_classifiers_loss_is_named():
    loss = CalibrationLoss(kind="kl_to_teacher", num_scored=32, teacher=0.0, student=0.25)
    assert "from 0.000 to 0.250 nats per text from the teacher's answers" in render(narrowed(loss=loss))


def test_hostile_names_stay_text():
    calibration = replace(narrowed().calibration, source=HOSTILE, subset=HOSTILE, text_column=HOSTILE)
    student = narrowed(
        teacher=ModelRef(name=HOSTILE.replace("/", "")), architecture=HOSTILE, dtype=HOSTILE, teacher_commit=HOSTILE,
        calibration=calibration,
    )  # fmt: skip
    assert_nothing_foreign_is_markup(render(student), pictures=1)
    assert_golden("hostile_student.md", render(student))
    assert "<script>alert(1)<script>" in " ".join(element.text or "" for element in parse(draw(student)).iter())
