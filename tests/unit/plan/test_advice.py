"""What a plan advises: from figures, and without a promise."""

import json
from pathlib import Path

import pytest

from distill_eval.plan.advice import MEASURED, advise, assistant, two_steps
from distill_eval.plan.config import TrainingPlan
from distill_eval.plan.quality import own_runs, retained
from distill_eval.record import from_json
from distill_eval.schema.plan import Figure, KvCache, ModelSizes, Parts, StudentPlan
from distill_eval.schema.retention import Retention

REPORTS = Path(__file__).resolve().parents[3] / "reports"


def sizes(name, total):
    parts = Parts(embeddings=total, attention=0, feed_forward=0, norms=0, head=0, other=0)
    return ModelSizes(
        name=name,
        architecture="LlamaForCausalLM",
        config_source="a folder",
        shape=None,
        vocab_size=10,
        max_length=None,
        parts=parts,
        weight_bytes={"fp32": 4 * total, "bf16": 2 * total, "int8": total, "int4": total // 2},
        kv_cache=KvCache(num_full_layers=1, num_window_layers=0, window=None, bytes_per_token_per_layer=4),
    )


def figure(name, value):
    return Figure(name=name, value=value, unit="share", basis="estimate", source="a test")


def advised(compression, *, method="logit", training=(), classifier=False, **config):
    teacher = sizes("teacher", 8_000_000_000)
    mine = sizes("student", round(8_000_000_000 / compression))
    return advise(
        teacher=teacher,
        student=StudentPlan(sizes=mine, compression=compression, why="", prepare=""),
        method=method,
        retained=retained(compression, method, (), fine_tuned=classifier),
        training=training,
        config=TrainingPlan(**config),
    )


def texts(found, weight=None):
    return " | ".join(one.text for one in found if weight in (None, one.weight))


def test_an_assistant_and_what_it_costs_by_hand():
    """16 to 1 by way of 4: (6*4 + 2*16) + (6*1 + 2*4) = 70 over 6*1 + 2*16 = 38."""
    assert assistant(16, 1) == 4
    assert two_steps(16, 1) == pytest.approx(70 / 38)


@pytest.mark.parametrize("compression", [2, 4, 8, 20])
def test_the_extra_step_costs_about_twice_the_compute(compression):
    assert 1.7 < two_steps(compression, 1) < 2.2


def test_a_moderate_student_of_a_language_model():
    found = advised(3.5)
    assert not [one for one in found if one.weight == "high"]
    said = texts(found)
    assert (
        "3 to 5 times is what is called safe; there the one published student of this kind (Minitron-4B) kept 91.3 %"
        in said
    )
    assert "an assistant of 4.28B (the geometric mean) makes it" in said
    assert (
        "2.29 GB in int8 (7 times smaller) and 1.14 GB in int4 (14 times smaller), where the teacher is 16 GB" in said
    )
    assert "temperature of 2 to 4" in said


def test_a_far_student_is_warned_of_first():
    found = advised(12.0)
    assert [one.weight for one in found[:2]] == ["high", "high"]
    high = texts(found, "high")
    assert "12 times is outside" in high
    assert "above 10 times more data and more steps are advised, and no published student of this kind" in high


def test_an_encoder_is_held_against_encoders_by_its_own_method():
    high = texts(advised(12.0, method="attention", classifier=True), "high")
    assert "2 published students of this kind kept 89.5 and 96.5 %" in high
    assert "Nothing published is close enough" not in high
    by_logit = texts(advised(12.0, classifier=True), "high")
    assert "2 published students of this kind kept 89.5 and 96.5 %" in by_logit
    assert "reach from 1.321 to 2.088 times; 12 times is outside" in by_logit
    assert "--method attention (10 from 1.627 to 15.45 times) shows what those kept" in by_logit


def test_short_trainings_are_held_against_the_rule():
    short = advised(4.0, training=(figure("training.tokens", 9e8),))
    assert "900M tokens are 10 % of what the planner's rule asks for (9B)" in texts(short, "medium")
    shorter = texts(advised(4.0, training=(figure("training.tokens", 9e6),)), "high")
    assert "9M tokens are 0.1 % of what the planner's rule asks for (9B)" in shorter
    assert MEASURED in shorter
    assert "tokens are" not in texts(advised(4.0, training=(figure("training.tokens", 9e9),)))


def test_the_measured_student_is_that_of_the_report():
    path = REPORTS / "2026-11-26-smollm2-distilled" / "layers-15"
    found = from_json(Retention, (path / "retention.json").read_text(encoding="utf-8"), source="the report")
    (run,) = own_runs({"the report": found})
    kept = retained(run.compression, "logit", (run,))
    tokens = json.loads((path / "distill.json").read_text(encoding="utf-8"))["num_tokens_seen"]
    said = f"{run.compression:.2f} times smaller, kept {round(100 * run.retention)} % after {tokens / 1e6:.2f} million"
    assert said in MEASURED
    assert f"the rule says {round(100 * kept.rule.value)} % and the fit {round(100 * kept.fit.value)} %" in MEASURED


def test_a_training_that_does_not_fit_names_what_shrinks_it():
    does_not = (figure("training.fits", 1.5),)
    high = texts(advised(4.0, training=does_not), "high")
    assert "needs 1.5 times the memory of a device" in high
    for option in ("--max-length", "--batch-size", "--gradient-checkpointing", "--teacher-source cached"):
        assert option in high
    tight = advised(
        4.0, training=does_not, batch_size=1, gradient_checkpointing=True, teacher_source="cached", chunked_loss=False
    )
    assert "It shrinks with a shorter --max-length, the chunked loss (leave --no-chunked-loss out)." in texts(
        tight, "high"
    )
    assert "memory of a device" not in texts(advised(4.0, training=(figure("training.fits", 0.9),)))


def test_it_says_what_the_smallest_options_and_sharding_come_to():
    known = {"fits": 3.0, "peak_bytes": 240e9, "least_bytes": 160e9, "sharded_bytes": 40e9}
    high = texts(advised(4.0, training=tuple(figure(f"training.{name}", value) for name, value in known.items())))
    assert "With all but shorter rows it takes 160 GB, which is still 2 times a device's memory." in high
    assert "which distill does not do, each would hold 40 GB, which fits." in high


def test_progressive_is_not_sold():
    found = advised(4.0, method="progressive")
    assert "no published anchor of prompted language models by the method progressive" in texts(found, "high")
    assert "train the direct student too, and compare both" in texts(found, "medium")


def test_every_finding_is_heaviest_first_and_promises_nothing():
    for compression in (1.5, 4.0, 7.0, 30.0):
        found = advised(compression, training=(figure("training.fits", 2.0), figure("training.tokens", 1e6)))
        ranks = [("high", "medium", "low").index(one.weight) for one in found]
        assert ranks == sorted(ranks)
        assert " will " not in texts(found)
