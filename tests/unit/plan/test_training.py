"""Memory, time, price and disk of a training against closed forms."""

from dataclasses import replace

import pytest
from unit.plan.shapes import PARTS, sizes

from distill_eval.plan.config import PlanConfig, TrainingPlan
from distill_eval.plan.flops import step_flops
from distill_eval.plan.memory import cache_bytes_per_token, logits_bytes, peak_memory, sharded_bytes
from distill_eval.plan.pair import Pair, training_dtype
from distill_eval.plan.training import assumed_utilisation, training_figures
from distill_eval.schema.plan import Hardware, Parts

GPU = Hardware(
    name="4xL4", num_devices=4, memory_bytes=10**6, flops=1e6, bandwidth=1e6, price_per_hour=7.2, source="here"
)
CPU = replace(GPU, name="cpu", num_devices=1, price_per_hour=None)
BATCH = {"batch_size": 3, "max_length": 8}
TOKENS = 3 * 8
LAYER = 24 * 10 + 16 * 20 + 16 * 30 + 4 * 4 + 8 + 4 * 8  # bytes per token, float32
HALF_LAYER = 26 * 10 + 8 * 20 + 8 * 30 + 4 * 4 + 8 + 2 * 8


def figures(hardware, training=None, **changes):
    return by_name(hardware, training, "logit", [Pair(sizes(), sizes(**changes))])


def by_name(hardware, training, method, pairs, num_parameters=1e9):
    config = PlanConfig(teacher="x/y", ratio=2.0, method=method, training=training or TrainingPlan(**BATCH))
    utilisation = assumed_utilisation(config.training, hardware, num_parameters)
    found = training_figures(pairs, config, hardware, utilisation, 1000.0)
    return {figure.name.removeprefix("training."): figure for figure in found}


def test_a_processor_trains_in_float32_part_by_part():
    found = figures(CPU)
    rows = TOKENS * 10
    parts = {
        "weights_bytes": 4 * PARTS.total,
        "gradients_bytes": 4 * PARTS.total,
        "optimizer_bytes": 8 * PARTS.total,
        "activations_bytes": 2 * TOKENS * LAYER + 2 * 4 * rows,
        "logits_bytes": TOKENS * 100 * (4 + 2) + TOKENS * 100 * 5 * 4 + 8 * rows,
        "teacher_bytes": 2 * PARTS.total + 2 * rows,
        "checkpoint_bytes": 3 * 12 * PARTS.total,
    }
    assert {name: found[name].value for name in parts} == parts
    forward = parts["activations_bytes"] + parts["logits_bytes"] + 4 * 1000
    always = parts["weights_bytes"] + parts["optimizer_bytes"] + parts["teacher_bytes"]
    assert forward > parts["gradients_bytes"] + 4 * 1000
    assert found["peak_bytes"].value == always + forward
    assert found["fits"].value == found["peak_bytes"].value / 10**6


def test_a_small_batch_has_its_peak_when_all_gradients_are_there():
    tied = peak_memory(sizes(), sizes(), TrainingPlan(batch_size=1, max_length=2), "float32")
    assert tied.peak == tied.weights + tied.optimizer + tied.teacher + tied.gradients + 4 * 1000
    parts = Parts(embeddings=1000, attention=1200, feed_forward=1800, norms=50, head=1000, other=0)
    untied = peak_memory(sizes(), sizes(parts=parts), TrainingPlan(batch_size=1, max_length=2), "float32")
    assert untied.peak == untied.weights + untied.optimizer + untied.teacher + untied.gradients


def test_autocast_halves_what_matrices_keep_and_adds_copies_of_them():
    single = peak_memory(sizes(), sizes(), TrainingPlan(**BATCH), "bfloat16")
    assert single.activations == 2 * TOKENS * HALF_LAYER + 2 * 4 * TOKENS * 10
    assert single.weights == 4 * PARTS.total + 2 * (1200 + 1800)
    both = peak_memory(sizes(), sizes(), TrainingPlan(**BATCH), "bfloat16", num_devices=4)
    assert both.gradients == 2 * single.gradients
    assert both.peak == single.peak + single.gradients


def test_checkpointing_keeps_the_stream_of_every_layer_and_one_layer_whole():
    training = TrainingPlan(gradient_checkpointing=True, **BATCH)
    found = peak_memory(sizes(), sizes(), training, "float32")
    assert found.activations == TOKENS * (2 * 4 * 10 + LAYER + 2 * 4 * 10)


def test_chunks_bound_the_logits_and_the_textbook_does_not():
    student = sizes(vocab_size=50_000)
    many = {"batch_size": 64, "max_length": 1024}
    chunked = logits_bytes(student, TrainingPlan(**many), "float32", on_cpu=True)
    ends = 64 * 1024 * 10 * 8
    assert chunked - ends < 1.5 * 2**28 + 5 * 2**22
    textbook = logits_bytes(student, TrainingPlan(chunked_loss=False, **many), "float32", on_cpu=True)
    assert textbook == 64 * 1024 * 50_000 * (4 + 2 + 12) + ends
    cached = logits_bytes(student, TrainingPlan(teacher_source="cached", **many), "float32", on_cpu=True)
    assert cached - ends < 2**28 + 2 * 2**22


def test_a_cached_teacher_is_on_disk_and_not_in_memory():
    found = figures(CPU, TrainingPlan(teacher_source="cached", **BATCH))
    assert found["teacher_bytes"].value == 0
    assert found["teacher_cache_bytes"].value == 1000 * cache_bytes_per_token(100)
    assert 100 < cache_bytes_per_token(49_152) <= 128
    assert figures(CPU)["teacher_cache_bytes"].value is None


def test_time_and_price_follow_from_operations_and_utilisation():
    found = figures(GPU)
    flops = 1000 * step_flops(sizes(), sizes(), 8, checkpointing=False)
    assert found["flops"].value == flops
    seconds = found["seconds"]
    assert seconds.value == pytest.approx(flops / (4e6 * 0.35))
    assert (seconds.low, seconds.high) == pytest.approx((flops / (4e6 * 0.46), flops / (4e6 * 0.26)))
    assert found["cost_usd"].value == pytest.approx(seconds.value / 3600 * 7.2)
    given = figures(GPU, TrainingPlan(utilisation=0.5, **BATCH))["seconds"]
    assert given.value == pytest.approx(flops / 2e6)
    assert given.low is given.high is None


def test_what_is_not_known_is_no_number_and_says_what_to_type():
    found = figures(CPU)
    assert found["seconds"].value is found["cost_usd"].value is None
    assert "--calibrate" in found["seconds"].source
    other = figures(CPU, architecture="OtherForCausalLM", shape=None)
    assert other["activations_bytes"].value is other["peak_bytes"].value is other["fits"].value is None
    assert "OtherForCausalLM" in other["peak_bytes"].source
    assert "LlamaForCausalLM" in other["peak_bytes"].source
    assert other["weights_bytes"].value == 4 * PARTS.total
    assert other["least_bytes"].value is None


def test_the_least_memory_is_that_of_the_smallest_options():
    found, training = figures(GPU), TrainingPlan(batch_size=1, max_length=8, gradient_checkpointing=True)
    least = peak_memory(sizes(), sizes(), replace(training, teacher_source="cached"), "bfloat16", num_devices=4)
    assert found["least_bytes"].value == least.peak < found["peak_bytes"].value
    assert "--batch-size 1 --gradient-checkpointing --teacher-source cached, with rows of 8 tokens" in (
        found["least_bytes"].source
    )
    states = 4 * PARTS.total * 4 + 2 * (1200 + 1800)  # weights, gradients, two moments, copies in bfloat16
    assert found["sharded_bytes"].value == states / 4 + least.activations + least.logits
    assert found["sharded_bytes"].value == sharded_bytes(least, 4)
    assert "sharded_bytes" not in figures(CPU)


def test_a_classifiers_teacher_cannot_be_cached():
    found = figures(GPU, kv_cache=None)
    assert "cached" not in found["least_bytes"].source


def test_a_gpu_computes_in_bfloat16_unless_told_otherwise():
    def dtypes(**said):
        return training_dtype(TrainingPlan(**said), CPU), training_dtype(TrainingPlan(**said), GPU)

    assert dtypes() == ("float32", "bfloat16")
    assert dtypes(dtype="float32") == ("float32", "float32")
    assert dtypes(dtype="bfloat16") == ("bfloat16", "bfloat16")


# ---- what the method changes


def test_two_trainings_take_the_time_of_both_and_the_memory_of_the_larger():
    large = replace(PARTS, feed_forward=2 * PARTS.feed_forward)
    assistant, student = sizes(parts=large, name="assistant"), sizes()
    pairs = [Pair(sizes(), assistant), Pair(assistant, student)]
    both, first, second = (by_name(GPU, None, "progressive", one) for one in (pairs, pairs[:1], pairs[1:]))
    for name in ("flops", "seconds", "cost_usd"):
        assert both[name].value == pytest.approx(first[name].value + second[name].value)
    assert both["peak_bytes"].value == first["peak_bytes"].value > second["peak_bytes"].value
    assert "while assistant learns" in both["peak_bytes"].source


def test_texts_that_were_written_before_need_no_teacher_but_for_validation():
    found, usual = (by_name(GPU, None, method, [Pair(sizes(), sizes())]) for method in ("response", "logit"))
    assert found["flops"].value == 1000 * step_flops(None, sizes(), 8, checkpointing=False) < usual["flops"].value
    assert found["teacher_bytes"].value == 2 * PARTS.total
    cached = by_name(GPU, TrainingPlan(teacher_source="cached", **BATCH), "logit", [Pair(sizes(), sizes())])
    assert found["logits_bytes"].value == cached["logits_bytes"].value


@pytest.mark.parametrize("method", ["feature", "attention"])
def test_what_a_method_compares_is_not_counted_and_memory_is_a_lower_end(method):
    found, usual = (by_name(GPU, None, one, [Pair(sizes(), sizes())]) for one in (method, "logit"))
    for name in ("peak_bytes", "fits"):
        assert found[name].value is None
        assert (found[name].low, found[name].high) == (usual[name].value, None)
        assert "not counted are the" in found[name].source
    assert found["seconds"].value == usual["seconds"].value
    assert "and what comparing the" in found["seconds"].source


def test_a_teacher_in_four_bits_is_as_bitsandbytes_has_it():
    """0.5 bytes and a float32 scale per 64 for the layers, 2 bytes for the rest, and its last hidden states."""
    found = figures(GPU, TrainingPlan(teacher_source="int4", **BATCH))["teacher_bytes"]
    layers = 1200 + 1800
    assert found.value == layers * (0.5 + 4 / 64) + 2 * (PARTS.total - layers) + 2 * TOKENS * 10
    assert "nf4" in found.source


def test_float32_has_a_peak_of_its_own():
    apart = replace(GPU, flops_float32=1e5)
    slow, fast = (figures(apart, TrainingPlan(dtype=dtype, **BATCH)) for dtype in ("float32", "bfloat16"))
    assert slow["seconds"].value == pytest.approx(10 * fast["seconds"].value)
    assert training_dtype(TrainingPlan(), replace(GPU, has_bfloat16=False)) == "float32"


def test_a_share_that_nobody_published_has_no_spread():
    small = by_name(GPU, None, "logit", [Pair(sizes(), sizes())], num_parameters=1e6)
    assert small["utilisation"].value == 0.35
    assert small["utilisation"].low is small["seconds"].low is None
    assert "smaller students reach less" in small["utilisation"].source
