"""Rooflines against closed forms, on hardware where arithmetic or memory alone is slow."""

from dataclasses import replace

import pytest
from unit.plan.shapes import PARTS, sizes

from distill_eval.plan.config import PlanConfig, ServingLoad
from distill_eval.plan.serving import serving_plans
from distill_eval.schema.plan import Hardware, Parts

FAST = Hardware(
    name="fast", num_devices=1, memory_bytes=1_000_000, flops=1e12, bandwidth=1e12, price_per_hour=None, source="here"
)
SLOW_MEMORY, SLOW_ARITHMETIC = replace(FAST, bandwidth=1e3), replace(FAST, flops=1e3)
LOAD = {"input_len": 20, "output_len": 11}
ATTENTION = 4 * 2 * 4 * 5  # operations per token of context
CACHE = 2 * 2 * 2 * 5 * 2  # bytes per token of context


def plans(hardware, *, concurrency=(1,), student=None):
    load = ServingLoad(concurrency=concurrency, **LOAD)
    config = PlanConfig(teacher="x/y", ratio=2.0, serving=load)
    return serving_plans(sizes(name="teacher"), student or sizes(name="student"), config, hardware)


def test_models_and_dtypes_come_in_turn_for_each_number_of_requests():
    found = [(plan.num_requests, plan.model, plan.dtype) for plan in plans(FAST, concurrency=(1, 4))]
    row = [("teacher", "bf16"), ("student", "bf16"), ("student", "int8")]
    assert found == [(count, *one) for count in (1, 4) for one in row]


def test_where_memory_is_slow_bytes_decide():
    teacher, student, packed = plans(SLOW_MEMORY)
    weights, cache = 2 * PARTS.total, CACHE * (20 + 11 // 2)
    assert teacher.ttft_ms.value == pytest.approx(weights)  # at 1,000 bytes per second
    assert teacher.tpot_ms.value == pytest.approx(weights + cache)
    assert packed.tpot_ms.value == pytest.approx(PARTS.total + cache)
    assert teacher.throughput.value == pytest.approx(11 / ((weights + 10 * (weights + cache)) / 1e3))
    assert student.ttft_ms.basis == "estimate"
    assert "no system reaches" in student.ttft_ms.source


def test_where_arithmetic_is_slow_operations_decide_whatever_the_dtype():
    teacher, _, packed = plans(SLOW_ARITHMETIC)
    prompt = 20 * (2 * 3000 + ATTENTION * 20 / 2) + 2 * 1000  # causal attention, and the head once
    assert teacher.ttft_ms.value == pytest.approx(prompt)
    assert teacher.tpot_ms.value == packed.tpot_ms.value == pytest.approx(2 * 4000 + ATTENTION * 25)


def test_requests_share_the_weights_and_not_their_caches():
    alone, together = plans(SLOW_MEMORY)[0], plans(SLOW_MEMORY, concurrency=(10,))[0]
    assert together.tpot_ms.value - alone.tpot_ms.value == pytest.approx(9 * CACHE * 25)
    weights = 2 * PARTS.total  # read once for all prompts, and once for each of ten more tokens
    assert together.throughput.value == pytest.approx(110 / ((11 * weights + 10 * 10 * CACHE * 25) / 1e3))


def test_embeddings_that_are_only_looked_up_are_not_read():
    untied = sizes(parts=Parts(embeddings=1000, attention=1200, feed_forward=1800, norms=50, head=1000, other=0))
    assert plans(SLOW_MEMORY, student=untied)[1].ttft_ms.value == pytest.approx(2 * (untied.parts.total - 1000))


def test_devices_add_up_and_their_price_is_shared_by_all_tokens():
    one, two = plans(SLOW_MEMORY)[0], plans(replace(SLOW_MEMORY, num_devices=2, price_per_hour=36.0))[0]
    assert two.tpot_ms.value == pytest.approx(one.tpot_ms.value / 2)
    assert two.cost_per_million.value == pytest.approx(0.01 / two.throughput.value * 1e6)
    assert one.cost_per_million.value is None
    assert "--price-per-hour" in one.cost_per_million.source


def test_no_more_requests_run_than_the_memory_holds():
    weights, per_request = 2 * PARTS.total, CACHE * 31
    memory = int((weights + 3 * per_request) / 0.9) + 1
    small = replace(SLOW_MEMORY, memory_bytes=memory)
    teacher = plans(small, concurrency=(10,))[0]
    assert teacher.max_requests == 3
    assert teacher.tpot_ms.value == pytest.approx(weights + 3 * CACHE * 25)
    assert "holds 3 of the 10" in teacher.tpot_ms.source
    none = plans(replace(small, memory_bytes=weights))[0]
    assert none.max_requests == 0
    assert none.ttft_ms.value is none.tpot_ms.value is none.throughput.value is None
    assert "take more devices" in none.ttft_ms.source


def test_a_classifier_reads_and_writes_nothing():
    classifier = sizes(kv_cache=None)
    found = plans(SLOW_MEMORY, student=classifier)[1]
    assert found.ttft_ms.value == pytest.approx(2 * (PARTS.total - 1000))
    assert found.tpot_ms.value is None
    assert "writes no tokens" in found.tpot_ms.source
