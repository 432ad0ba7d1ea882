"""A report of a teacher and its student, and what a card of the student draws on; every number is invented."""

from dataclasses import replace

from fakes.manifest import MANIFEST

from distill_eval.report.subject import License, Lineage, Subject
from distill_eval.schema.bench import Ratio
from distill_eval.schema.model import ModelFacts
from distill_eval.schema.report import Report, Speed, Variant
from distill_eval.schema.retention import (
    Criterion,
    Entry,
    Estimate,
    Finding,
    Flips,
    Power,
    Provenance,
    Retention,
    TaskFacts,
)

TEACHER, STUDENT = "org/teacher", "runs/student"
NONE = Estimate(value=None, reason="not measured")
MADE = Provenance(
    command="distill-eval report runs", versions={"torch": "2.13.0"}, hardware="cpu, 2 threads", git_commit=None
)


def estimate(value, half=0.02):
    return Estimate(value=value, stderr=half / 2, ci_low=value - half, ci_high=value + half)


def speed(**changes):
    made = Speed(
        load="concurrency 4",
        ttft_p50_ms=20.0,
        ttft_p99_ms=81.5,
        tpot_p50_ms=7.0,
        tpot_p99_ms=9.25,
        output_throughput=412.5,
        speedup=None,
        reason="is the baseline",
    )
    return replace(made, **changes)


def variant(name, ref, role, **changes):
    made = Variant(
        name=name,
        ref=ref,
        role=role,
        engine="hf",
        bench_engine="vllm",
        quantization=None,
        num_parameters=134_515_008,
        size_bytes=269_060_552,
        size_ratio=1.0,
        retention=NONE,
        worst_task=None,
        worst_retention=NONE,
        retention_above_chance=NONE,
        gap_recovered=NONE,
        kl=NONE,
        top1_agreement=NONE,
        speeds=(speed(),),
        peak_bytes=None,
        verdict=None,
        on_frontier=None,
        reasons={"peak_bytes": "the engine does not say"},
    )
    return replace(made, **changes)


def student(**changes):
    made = variant(
        "student",
        STUDENT,
        "student",
        num_parameters=81_000_000,
        size_bytes=162_000_000,
        size_ratio=0.602,
        retention=estimate(0.9125),
        worst_task="arc_easy",
        worst_retention=estimate(0.88),
        kl=estimate(0.7421),
        speeds=(speed(output_throughput=820.0, speedup=Ratio(value=1.9, ci_low=1.7, ci_high=2.1, pairs=(1.9,))),),
        verdict="PASS",
        on_frontier=True,
    )
    return replace(made, **changes)


def report(*variants, **changes):
    made = Report(
        verdict="Ship student.",
        ship="student",
        variants=(variant("teacher", TEACHER, "teacher"), *(variants or (student(),))),
        load="concurrency 4",
        gate=(),
        findings=(Finding(weight="high", subject="run", text="arc_easy was limited to 500 of 2,376 documents."),),
        recipe=None,
        sources=(),
        provenance=MADE,
    )
    return replace(made, **changes)


def entry(task="arc_easy", *, teacher=0.6, score=0.54, **changes):
    made = Entry(
        student_ref=STUDENT,
        task=task,
        metric="acc",
        filter="none",
        kind="binary",
        unit="share",
        higher_is_better=True,
        primary=True,
        group=None,
        num_tasks=1,
        num_pairs=500,
        num_pairs_effective=500.0,
        num_docs_total=2376,
        chance=0.25,
        teacher=estimate(teacher),
        student=estimate(score),
        difference=estimate(score - teacher),
        retention=estimate(score / teacher),
        retention_above_chance=estimate((score - 0.25) / (teacher - 0.25)),
        contrast=estimate(score - 0.85 * teacher),
        test="exact McNemar",
        p_value=0.01,
        p_adjusted=0.02,
        flips=Flips(num_harmful=40, num_beneficial=10, num_wrong_to_other_wrong=9),
        power=Power(
            power=0.8,
            planned_detectable_drop=0.05,
            planned_discordance=0.2,
            detectable_drop=0.04,
            num_docs_to_settle=None,
        ),
        verdict="PASS",
        lm_eval_teacher=teacher,
        lm_eval_student=score,
    )
    return replace(made, **changes)


def task(name="arc_easy", **changes):
    made = TaskFacts(
        task=name,
        version="1.0",
        output_type="multiple_choice",
        num_fewshot=5,
        num_docs=500,
        num_docs_total=2376,
        prompts_digest="1" * 64,
        dataset="allenai/ai2_arc:ARC-Easy",
        dataset_revision="ab" * 20,
    )
    return replace(made, **changes)


def facts(ref, **changes):
    made = ModelFacts(
        ref=ref,
        architecture="LlamaForCausalLM",
        num_parameters=134_515_008,
        size_bytes=269_060_552,
        dtype="float32",
        vocab_size=49152,
        weights_digest="5a" * 32,
        tokenizer_digest="0" * 64,
        max_length=2048,
    )
    return replace(made, **changes)


def retention(*entries, tasks=None, **changes):
    made = Retention(
        criterion=Criterion(min_retention=0.85, margin=None, level=0.95),
        teacher=facts(TEACHER),
        students=(facts(STUDENT),),
        manifest=MANIFEST,
        tasks=tasks or (task(),),
        entries=entries or (entry(),),
        verdicts=(),
        findings=(),
        provenance=replace(MADE, command="distill-eval compare --teacher org/teacher --student runs/student"),
    )
    return replace(made, **changes)


def subject(**changes):
    made = Subject(
        report=report(),
        variant=student(),
        address="me/student",
        on_hub=True,
        license=License("apache-2.0"),
        languages=("en",),
        lineage=Lineage(),
        retentions=(retention(),),
        benches=(),
        names={TEACHER: "teacher", STUDENT: "student"},
        hub_names=frozenset({TEACHER, "allenai/ai2_arc"}),
    )
    return made._replace(**changes)
