"""`training.md` and `curves.svg`: golden files, which points are drawn, runs side by side, and hostile names."""

from dataclasses import replace
from itertools import pairwise

import pytest
from unit.report.made import HOSTILE, baseline, curve, trained, validation
from unit.report.pictures import find, parse, points, texts
from unit.report.read import assert_golden, assert_nothing_foreign_is_markup, tables

from distill_eval.record import from_json, to_json
from distill_eval.report.training import MOST_POINTS, draw, files, render
from distill_eval.schema.distill import DistillRun, Point
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Finding

EXAMPLES = {"alone": {"student": trained()}, "beside": {"student": trained(), "plain": baseline()}}


@pytest.mark.parametrize("name", EXAMPLES)
def test_golden(name):
    for file, text in files(EXAMPLES[name]).items():
        assert_golden(f"{name}_{file}", text)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_same_records_give_the_same_bytes(name):
    reread = {key: from_json(DistillRun, to_json(run), source="memory") for key, run in EXAMPLES[name].items()}
    assert files(reread) == files(EXAMPLES[name])


def lines(text):
    return {line.find("{*}title").text: points(line) for line in find(parse(text), "polyline")}


def test_validation_goes_from_before_training_to_after_it():
    perplexity, kl, *_ = find(parse(draw(EXAMPLES["alone"])), "polyline")
    assert len(points(perplexity)) == len(points(kl)) == 1 + 5  # steps 0, 20, 40, 60, 80; the last one is `after`
    xs = [x for x, _ in points(perplexity)]
    assert all(b - a == pytest.approx((xs[-1] - xs[0]) / 5, abs=0.11) for a, b in pairwise(xs))
    stopped = trained(num_steps=70, curve=curve(60), stopped="near enough (--stop-within 0.02)")
    assert len(points(find(parse(draw({"student": stopped})), "polyline")[0])) == 1 + 3 + 1
    assert "near enough" in render({"student": stopped})


def test_all_parts_of_the_loss_are_drawn():
    with_features = trained(curve=curve(feature_loss=0.5, eval_loss=9.0))
    assert list(lines(draw({"student": with_features})))[1:] == ["loss", "soft loss", "hard loss", "feature loss"]
    assert list(lines(draw(EXAMPLES["alone"]))) == ["student", "loss", "soft loss", "hard loss"]


def test_a_loss_of_zero_is_drawn_on_even_ticks():
    """Steps on the text alone have no soft loss, and a logarithmic axis has no zero."""
    zero = trained(curve=(*curve(80), Point(step=90, values={"loss": 1.0, "soft_loss": 0.0, "hard_loss": 1.0})))
    for run, log in ((trained(), True), (zero, False)):
        shown = texts(parse(draw({"student": run})))
        assert ("per token; loss is the weighted sum of its parts, logarithmic" in shown) is log


def test_a_long_log_is_drawn_by_means():
    log = tuple(Point(step=step, values={"loss": float(step % 2)}) for step in range(1, 1001))
    drawn = draw({"student": trained(curve=log)})
    (line,) = [line for name, line in lines(drawn).items() if name == "loss"]
    assert len(line) == MOST_POINTS
    assert "step (means of 5 log lines)" in texts(parse(drawn))
    ys = {y for _, y in line}
    assert len(ys) == 2  # of five steps two or three are odd: means of 0.4 and 0.6


def test_two_runs_share_their_teachers_level():
    root = parse(draw(EXAMPLES["beside"]))
    assert "teacher 3.00" in texts(root)
    assert texts(root).count("plain (without the teacher)") == 2  # perplexity and KL
    assert "Training loss of student" in texts(root)
    other = trained(teacher_validation=validation(5.0))
    shown = texts(parse(draw({"a": trained(), "b": other})))
    assert {"teacher of a 3.00", "teacher of b 5.00"} <= set(shown)
    nearly = trained(teacher_validation=validation(3.0000001))
    assert "teacher 3.00" in texts(parse(draw({"a": trained(), "b": nearly})))


def test_without_a_teacher_there_is_no_level_and_no_kl():
    alone = trained(
        teachers=(), teacher_weights=(), teacher_validation=None, before=validation(50.0), after=validation(4)
    )
    text = draw({"student": alone})
    assert "KL" not in " ".join(texts(parse(text)))
    assert not find(parse(text), "line", "reference")
    assert "trained on text alone" in render({"student": alone})
    assert "no live teacher was asked" in render({"student": alone})
    cached = replace(alone, settings=alone.settings | {"--cached-teacher": "cache"})
    assert render({"student": cached}).startswith("# `student-init` taught by the answers in `cache`")


def test_the_tables_say_what_the_record_says():
    found = tables(render(EXAMPLES["alone"]))
    head = found["student-init taught by teacher"]
    assert head[0] == ["on the validation text", "before", "after", "teacher"]
    assert head[1] == ["perplexity", "50.00", "3.96", "3.00"]
    assert head[3] == ["KL to the teacher (nats per token)", "2.0000", "0.1990", "- (1)"]
    assert ["padding", "1.2 %"] in found["Data"]
    assert ["--steps", "100"] in found["Training 2"]
    assert found["How to repeat this 2"][1:] == [["python", "3.11.7"], ["torch", "2.13.0"]]


def test_findings_come_heaviest_first():
    text = render(EXAMPLES["alone"])
    assert text.index("nothing to teach") < text.index("gradient norm")


def test_runs_beside_each_other_say_where_they_differ():
    found = tables(render(EXAMPLES["beside"]))
    head = found["student-init taught by teacher"]
    assert head[0] == [
        "on the validation text",
        "before",
        "after student",
        "after plain (without the teacher)",
        "teacher",
    ]
    assert head[1] == ["perplexity", "50.00", "3.96", "4.50", "3.00"]
    assert found["Where the runs differ"] == [
        ["option", "student", "plain (without the teacher)"],
        ["--baseline", "default", "True"],
    ]
    other = replace(trained().data, digest="ef" * 32)
    apart = tables(render({"a": trained(), "b": trained(data=other, before=validation(60.0, 3.0))}))
    assert apart["Where the runs differ"][1] == ["SHA-256 of the training rows", "cdcdcdcdcdcd", "efefefefefef"]
    assert apart["student-init taught by teacher"][1] == ["perplexity", "50.00", "3.96", "60.00", "3.96", "3.00"]
    assert "Nowhere." in render({"a": trained(), "b": trained()})


def test_streamed_data_is_not_counted():
    facts = {"num_documents", "num_split_documents", "num_unscored_documents", "num_blocks", "num_tokens"}
    data = replace(trained().data, **dict.fromkeys(facts | {"num_scored_tokens", "digest", "padding_share"}))
    found = dict(tables(render({"student": trained(data=data)}))["Data"][1:])
    assert [name for name, value in found.items() if value == "streamed, not known"] == [
        "documents",
        "longer than a row, and cut",
        "without a token to predict, and left out",
        "rows",
        "tokens",
        "of them predicted",
        "padding",
        "SHA-256 of the rows",
    ]


def test_hostile_names_stay_text():
    run = trained(
        student=ModelRef(name=HOSTILE),
        teachers=(ModelRef(name=HOSTILE + "2"),),
        settings={HOSTILE: HOSTILE},
        stopped=HOSTILE,
        data=replace(trained().data, data=HOSTILE, packing=HOSTILE),
        findings=(Finding(weight="low", subject=HOSTILE, text=HOSTILE),),
        provenance=replace(
            trained().provenance, command=HOSTILE + "\n````", hardware=HOSTILE, versions={HOSTILE: HOSTILE}
        ),
    )
    runs = {HOSTILE: run, "b": baseline()}
    assert_nothing_foreign_is_markup(render(runs), pictures=1)
    assert_golden("hostile_training.md", render(runs))
    assert "<script>alert(1)</script>" in " ".join(texts(parse(draw(runs))))


def test_models_with_different_tokenizers_are_compared_by_bits_per_byte():
    def across(perplexity, bits, uld):
        share = None if uld is None else 0.875
        return replace(validation(perplexity, None), bits_per_byte=bits, uld=uld, paired_share=share)

    run = trained(
        before=across(40.0, 1.75, 0.5),
        after=across(20.0, 1.25, 0.25),
        teacher_validation=across(90.0, 1.0, None),
        curve=tuple(
            Point(step=step, values={"eval_perplexity": 30.0, "eval_bits_per_byte": 1.5, "eval_uld": 0.4})
            for step in (40, 80)
        ),
    )
    text = render({"student": run})
    assert (
        "Bits per byte on the validation text went from 1.75 to 1.25 (teacher: 1.00), "
        "ULD distance to the teacher 0.500 to 0.250" in text
    )
    found = {row[0]: row[1:] for row in next(iter(tables(text).values()))}
    assert [value[:6] for value in found["bits per byte of the text that both tokenizers delimit"]] == [
        "1.7500",
        "1.2500",
        "1.0000",
    ]
    assert found["tokens that are compared with the teacher's"][:2] == ["87.5 %", "87.5 %"]
    assert "KL" not in text
    shown = texts(parse(draw({"student": run})))
    assert "Bits per byte on the validation text" in shown
    assert "ULD distance to the teacher on the validation text" in shown
    beside = {"student": run, "plain": trained(after=replace(validation(25.0, None)), teacher_validation=None)}
    assert "Perplexity on the validation text" in texts(parse(draw(beside)))
    assert not any(shown == "teacher" for shown in texts(parse(draw(beside))))
