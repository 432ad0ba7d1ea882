"""A calibration's share follows from its own steps; what it cannot measure it refuses before any step."""

from dataclasses import replace

import pytest
from fakes.tiny_families import CONFIGS

from distill_eval.errors import ModelError, UsageError
from distill_eval.plan.calibrate import STEPS, WARM_UP, Side, calibrate
from distill_eval.plan.config import HardwarePlan, PlanConfig, TrainingPlan
from distill_eval.plan.flops import step_flops
from distill_eval.plan.sizes import model_sizes
from distill_eval.schema.plan import Hardware

HERE = Hardware(
    name="cpu", num_devices=1, memory_bytes=10**9, flops=1e9, bandwidth=1e9, price_per_hour=None, source="here"
)


def side(family="llama"):
    config = CONFIGS[family]()
    return Side(config, model_sizes(config, "causal", name=family, source="made here"))


def run(student=None, *, training=None, hardware=None, said=None):
    config = PlanConfig(
        teacher="x/y",
        ratio=2.0,
        training=training or TrainingPlan(calibrate=True, batch_size=2, max_length=16),
        hardware=hardware or HardwarePlan(),
    )
    say = (said if said is not None else []).append
    return calibrate(side("qwen3"), student or side(), config, HERE, say=say)


def seconds(line):
    return float(line.removesuffix(" s").rpartition(" ")[2])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_share_is_the_operations_of_the_median_step_over_the_peak(checkpointing):
    said = []
    training = TrainingPlan(calibrate=True, batch_size=2, max_length=16, gradient_checkpointing=checkpointing)
    found = run(training=training, said=said)
    assert len(said) == WARM_UP + STEPS
    work = 32 * step_flops(side("qwen3").sizes, side().sizes, 16, checkpointing=checkpointing) / HERE.flops
    times = sorted(seconds(line) for line in said[WARM_UP:])  # told to a hundredth of a second
    assert work / found.value == pytest.approx(times[STEPS // 2], abs=0.006)
    assert (work / found.high, work / found.low) == pytest.approx((times[0], times[-1]), abs=0.006)
    assert found.low <= found.value <= found.high
    assert found.basis == "measured"
    assert "without" not in found.source


def test_a_cached_teacher_is_not_run():
    training = TrainingPlan(calibrate=True, batch_size=1, max_length=8, teacher_source="cached")
    assert run(training=training).source.endswith("without a teacher, as it is cached")


def test_a_teacher_that_does_not_fit_is_left_out_and_that_is_said():
    config = CONFIGS["llama"]()
    parts = replace(side().sizes.parts, feed_forward=10**15)
    large = Side(config, replace(side().sizes, parts=parts, weight_bytes={"fp32": 4 * 10**15, "bf16": 2 * 10**15}))
    plan = PlanConfig(teacher="x/y", ratio=2.0, training=TrainingPlan(calibrate=True, batch_size=1, max_length=8))
    found = calibrate(large, side(), plan, HERE, say=lambda line: None)
    assert "without the teacher: with it 2000000.0 GB would be held" in found.source
    alone = 8 * step_flops(None, side().sizes, 8, checkpointing=False) / HERE.flops
    fastest = float(found.source.partition(" of ")[2].rpartition(", of ")[2].partition(" to ")[0])
    assert alone / found.high == pytest.approx(fastest, rel=0.01)


def test_a_student_that_does_not_fit_is_refused():
    sizes = side().sizes
    parts = replace(sizes.parts, feed_forward=10**15)
    with pytest.raises(ModelError, match="Lower --batch-size"):
        run(Side(CONFIGS["llama"](), replace(sizes, parts=parts)))


def test_only_this_machine_and_language_models_are_measured():
    with pytest.raises(UsageError, match="--hardware 8xL4 is another"):
        run(hardware=HardwarePlan(hardware="8xL4"))
    with pytest.raises(UsageError, match="--utilisation"):
        run(Side(None, replace(side().sizes, kv_cache=None)))
