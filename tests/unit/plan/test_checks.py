"""A plan beside what runs measured: which figures are held against what, and which are not."""

from dataclasses import replace

import pytest
from unit.plan.shapes import PARTS, sizes

from distill_eval.plan.checks import Measured, checks
from distill_eval.plan.config import PlanConfig, ServingLoad
from distill_eval.plan.serving import serving_plans
from distill_eval.schema.bench import BenchedModel, BenchRun, Latency, LoadMetrics, LoadResult, Memory, PromptSource
from distill_eval.schema.model import ModelRef
from distill_eval.schema.plan import Figure, Hardware, Plan, Retained, StudentPlan
from distill_eval.schema.retention import Provenance
from distill_eval.schema.teacher_cache import CacheKey, CacheManifest
from distill_eval.schema.timing import Load

HERE = Provenance(command="", versions={}, hardware="cpu", git_commit=None)
DEVICE = Hardware(
    name="box", num_devices=1, memory_bytes=1_000_000, flops=1e12, bandwidth=1e6, price_per_hour=None, source="here"
)
TEACHER = sizes(name="org/teacher", parts=replace(PARTS, attention=5000))
STUDENT = sizes(name="student of 2 layers")
NOTHING = Measured({}, {}, {}, {}, {}, {}, {})


def figure(name, value, unit="share"):
    return Figure(name=name, value=value, unit=unit, basis="estimate", source="why")


def plan(*training):
    load = ServingLoad(input_len=20, output_len=11, concurrency=(1, 4))
    config = PlanConfig(teacher="org/teacher", ratio=2.0, serving=load)
    none = figure("retained", None)
    return Plan(
        teacher_ref=ModelRef(name="org/teacher"),
        method="logit",
        teacher=TEACHER,
        students=(StudentPlan(sizes=STUDENT, compression=2.0, why="", prepare=""),),
        hardware=DEVICE,
        training=training,
        retained=Retained(rule=none, fit=none, fit_text="", own=none, tokens=none, anchors=()),
        evaluation=(),
        serving=serving_plans(TEACHER, STUDENT, config, DEVICE),
        findings=(),
        provenance=HERE,
    )


def latency(p50):
    return Latency(num=8, mean=p50, p50=p50, p90=p50, p95=p50, p99=p50)


def result(concurrency, *, ttft=4.0, tpot=2.0, throughput=100.0, ignore_eos=True):
    metrics = LoadMetrics(
        num_completed=8, num_errored=0, num_cancelled=0, num_late=None, num_retried=0, duration_s=1.0,
        ttft_ms=latency(ttft), itl_ms=None, tpot_ms=latency(tpot), e2el_ms=None, scheduled_ttft_ms=None,
        scheduled_e2el_ms=None, request_throughput=1.0, output_throughput=throughput, total_throughput=None,
        goodput=None, peak_concurrency=concurrency, num_prompt_tokens=1, num_output_tokens=1,
        num_count_mismatches=None, reasons={},
    )  # fmt: skip
    load = Load(kind="closed", concurrency=concurrency, ignore_eos=ignore_eos)
    return LoadResult(load=load, metrics=metrics, output_throughput_speedup=None, tpot_speedup=None, ttft_speedup=None)


def model(ref, *results, weights, quantization=None, kept=None):
    return BenchedModel(
        name=ref, ref=ref, engine="vllm", engine_version=None, device="cpu", dtype="bfloat16",
        quantization=quantization, max_model_len=None, prefix_caching=None, start_s=None,
        memory=Memory(weights_bytes=weights, rest_bytes=None, peak_bytes=None, kv_cache_tokens=kept),
        energy_j=None, energy_reason=None, results=results,
    )  # fmt: skip


def held(*models, prompts=(20, 20), answers=(11, 11)):
    """What a benchmark tells of the plan, by what it is of."""
    run = BenchRun(
        models=models, loads=(), num_repeats=1,
        prompts=PromptSource(
            kind="random", num_prompts=8, num_prompt_tokens=prompts, max_tokens=answers, ignore_eos=True, seed=0,
            digest="",
        ),
        goodput={}, noise=(), findings=(), complete=True, provenance=HERE,
    )  # fmt: skip
    return {one.what: one for one in checks(plan(), NOTHING._replace(benches={"bench.json": run}))}


def served(name, dtype, num_requests):
    return next(
        one for one in plan().serving if (one.model, one.dtype, one.num_requests) == (name, dtype, num_requests)
    )


def test_throughput_ttft_and_tpot_are_held_against_the_same_load():
    teacher = model("org/teacher", result(1), result(4, throughput=250.0), weights=TEACHER.weight_bytes["bf16"])
    found = held(teacher)
    assert len(found) == 6
    for num_requests, measured in ((1, 100.0), (4, 250.0)):
        planned = served("org/teacher", "bf16", num_requests)
        throughput = found[f"throughput of the teacher, {num_requests} at once"]
        assert throughput.planned == planned.throughput
        assert throughput.error == pytest.approx(planned.throughput.value / measured - 1)
        assert found[f"TTFT of the teacher, {num_requests} at once"].measured == 4.0
        assert found[f"TPOT of the teacher, {num_requests} at once"].measured == 2.0


def test_a_quantized_student_is_held_against_its_dtype():
    int8 = STUDENT.weight_bytes["int8"]
    found = held(model("runs/w8", result(1), weights=int8 + 10, quantization="compressed-tensors W8A16"))
    tpot = found["TPOT of the student in int8, 1 at once"]
    assert tpot.planned == served(STUDENT.name, "int8", 1).tpot_ms
    assert tpot.planned.value < served(STUDENT.name, "bf16", 1).tpot_ms.value
    assert "W8A16" in tpot.source
    assert set(found) == {f"{name} of the student in int8, 1 at once" for name in ("TTFT", "TPOT", "throughput")}


@pytest.mark.parametrize(
    ("weights", "quantization"),
    [
        (STUDENT.weight_bytes["int8"], None),  # a student of another size
        (STUDENT.weight_bytes["bf16"], "compressed-tensors W8A16"),  # packed, and twice as large
        (STUDENT.weight_bytes["int8"], "onnx int8"),  # of a form that is not planned
        (None, None),
    ],
)
def test_other_models_are_not_held_against_the_plan(weights, quantization):
    assert held(model("runs/other", result(1), weights=weights, quantization=quantization, kept=1000)) == {}


def test_another_load_tells_nothing_of_the_planned_one():
    weights = TEACHER.weight_bytes["bf16"]
    assert held(model("org/teacher", result(2), result(1, ignore_eos=False), weights=weights)) == {}
    found = held(model("org/teacher", result(1), weights=weights), prompts=(64, 64))
    assert [one.measured for one in found.values()] == [None] * 3
    assert (
        "prompts of 64 to 64 tokens and answers of 11 to 11, where the plan has 20 and 11"
        in next(iter(found.values())).source
    )


def test_requests_that_fit_are_those_of_the_servers_cache():
    found = held(model("org/teacher", weights=TEACHER.weight_bytes["bf16"], kept=1000))
    room = found["requests that fit, of the teacher"]
    assert room.measured == 1000 // 31
    memory = 0.9 * DEVICE.memory_bytes - TEACHER.weight_bytes["bf16"]
    assert room.planned.value == memory // TEACHER.kv_cache.num_bytes(31)


def test_the_disk_of_a_cached_teacher_is_scaled_to_the_tokens_that_it_kept():
    key = CacheKey(
        kind="sample", teacher_digest="", teacher_dtype="bfloat16", tokenizer_digest="", data_digest="", num_blocks=1,
        vocab_size=100, temperature=2.0, num_kept=5, seed=0,
    )  # fmt: skip
    kept = CacheManifest(teacher="org/teacher", key=key, blocks_per_shard=1, num_rows=500, size_bytes=40_000)
    said = plan(
        figure("training.tokens", 2000.0, "tokens"), figure("training.teacher_cache_bytes", 128 * 2000.0, "bytes")
    )
    (found,) = checks(said, NOTHING._replace(caches={"teacher-cache/manifest.json": kept}))
    assert (found.planned.value, found.measured) == (128 * 500, 40_000)
    assert found.error == pytest.approx(128 * 500 / 40_000 - 1)
    live = plan(figure("training.tokens", 2000.0, "tokens"), figure("training.teacher_cache_bytes", None, "bytes"))
    assert checks(live, NOTHING._replace(caches={"teacher-cache/manifest.json": kept})) == ()
