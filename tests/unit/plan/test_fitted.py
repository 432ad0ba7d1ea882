"""What a plan's options can be, given its teacher and its hardware."""

from dataclasses import replace

import pytest
from transformers import LlamaConfig, MixtralConfig
from unit.plan.shapes import sizes

from distill_eval.errors import ModelError, UsageError
from distill_eval.plan.config import PlanConfig, ServingLoad, TrainingPlan
from distill_eval.plan.fitted import check_dense, fitted
from distill_eval.schema.plan import Hardware

GPU = Hardware(
    name="L4", num_devices=1, memory_bytes=10**6, flops=1e6, bandwidth=1e6, price_per_hour=None, source="here"
)
SHORT = sizes(max_length=512)
CLASSIFIER = sizes(max_length=512, kv_cache=None)


def config(**changes):
    return PlanConfig(teacher="x/y", ratio=2.0, **changes)


def test_defaults_are_shortened_to_what_the_teacher_reads_and_that_is_said():
    found, said = fitted(config(), SHORT, GPU)
    assert (found.training.max_length, found.serving.input_len, found.serving.output_len) == (512, 410, 102)
    assert said == (
        "rows of 512 tokens, the most that small reads", "prompts of 410 tokens and answers of 102, the most that fit",
    )  # fmt: skip
    chosen = fitted(config(serving=ServingLoad(output_len=64)), SHORT, GPU)[0].serving
    assert (chosen.input_len, chosen.output_len) == (448, 64)
    chosen = fitted(config(serving=ServingLoad(input_len=500)), SHORT, GPU)[0].serving
    assert (chosen.input_len, chosen.output_len) == (500, 12)
    assert fitted(config(), CLASSIFIER, GPU)[0].serving.input_len == 512  # it writes nothing
    long = sizes(max_length=8192)
    assert fitted(config(), long, GPU) == (config(), ())
    assert fitted(config(), sizes(max_length=None), GPU) == (config(), ())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training": TrainingPlan(max_length=2048)}, "--max-length 2048: small reads 512 tokens at once"),
        ({"serving": ServingLoad(input_len=600)}, "--input-len 600 and --output-len 128: the teacher has room for 512"),
        ({"serving": ServingLoad(output_len=512)}, "--output-len 512: the teacher has room for 512 tokens"),
        ({"serving": ServingLoad(input_len=400, output_len=200)}, "has room for 512 tokens together"),
        (
            {"method": "attention", "training": TrainingPlan(teacher_source="cached")},
            "a classifier's answers are not cached, nor are attention maps",
        ),
    ],
)
def test_what_the_teacher_cannot_do_is_refused(changes, told):
    with pytest.raises(UsageError) as caught:
        fitted(config(**changes), SHORT, GPU)
    assert told in str(caught.value)


def test_a_classifiers_answers_are_not_cached():
    with pytest.raises(UsageError, match="--teacher-source cached"):
        fitted(config(training=TrainingPlan(teacher_source="cached")), CLASSIFIER, GPU)


def test_bfloat16_is_refused_where_there_is_none():
    training = TrainingPlan(dtype="bfloat16", max_length=64)
    with pytest.raises(UsageError, match="L4 has none"):
        fitted(config(training=training), SHORT, replace(GPU, has_bfloat16=False))


def test_a_mixture_of_experts_is_refused():
    with pytest.raises(ModelError, match="mixture of experts \\(num_local_experts = 8\\)"):
        check_dense("org/moe", MixtralConfig())
    check_dense("org/dense", LlamaConfig())
