"""Hand-made comparisons: every number below is invented for the layout and measured nowhere."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.manifest import MANIFEST

from distill_eval.schema.model import ModelFacts
from distill_eval.schema.retention import (
    Criterion,
    Entry,
    Estimate,
    Finding,
    Flips,
    Power,
    Provenance,
    Retention,
    StudentVerdict,
    TaskFacts,
)

NO_RETENTION = "the teacher's score is 0, so a ratio to it is undefined"
NOT_ABOVE = "the teacher is not above chance: retention above chance is undefined"
NO_OPTIONS = "the task offers no options, so guessing has no score"
HOSTILE = "a|b<script>alert(1)</script>\n`x``y` [x](javascript:1) ![i](http://evil.example/i.png) \\| **b** _u_ $1$"


def make_model(ref: str, **changes: Any) -> ModelFacts:
    facts = ModelFacts(
        ref=ref,
        architecture="LlamaForCausalLM",
        num_parameters=134_515_008,
        size_bytes=269_060_552,
        dtype="float32",
        vocab_size=49152,
        weights_digest="5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
        tokenizer_digest="0" * 64,
        max_length=2048,
    )
    return replace(facts, **changes)


def make_estimate(value: float, half: float) -> Estimate:
    return Estimate(value=value, stderr=half / 2, ci_low=value - half, ci_high=value + half)


def make_entry(ref: str, task: str, *, teacher: float = 0.6, student: float = 0.54, **changes: Any) -> Entry:
    """A 0/1 metric on 1,000 documents with four options; what follows from the two scores is computed."""
    pairs = changes.get("num_pairs", 1000)
    beneficial = pairs // 25
    entry = Entry(
        student_ref=ref,
        task=task,
        metric="acc",
        filter="none",
        kind="binary",
        unit="share",
        higher_is_better=True,
        primary=True,
        group=None,
        num_tasks=1,
        num_pairs=pairs,
        num_pairs_effective=float(pairs),
        num_docs_total=changes.get("num_docs_total", pairs),
        chance=0.25,
        teacher=make_estimate(teacher, 0.03),
        student=make_estimate(student, 0.03),
        difference=make_estimate(student - teacher, 0.02),
        retention=make_estimate(student / teacher, 0.032),
        retention_above_chance=make_estimate((student - 0.25) / (teacher - 0.25), 0.05),
        contrast=make_estimate(student - 0.95 * teacher, 0.02),
        test="exact McNemar",
        p_value=0.00012,
        p_adjusted=0.00048,
        flips=Flips(
            num_harmful=beneficial + round(pairs * (teacher - student)),
            num_beneficial=beneficial,
            num_wrong_to_other_wrong=pairs // 9,
        ),
        power=make_power(detectable_drop=0.0306),
        verdict="FAIL",
        lm_eval_teacher=teacher,
        lm_eval_student=student,
    )
    return replace(entry, **changes)


def make_power(**changes: Any) -> Power:
    made = Power(
        power=0.8,
        planned_detectable_drop=0.035,
        planned_discordance=0.15,
        detectable_drop=None,
        num_docs_to_settle=None,
    )
    return replace(made, **changes)


def make_bits(ref: str, task: str, **changes: Any) -> Entry:
    """Bits per byte of a text: no chance, no flips."""
    common: dict[str, Any] = {
        "metric": "bits_per_byte",
        "kind": "loglikelihood",
        "unit": "bits/byte",
        "higher_is_better": False,
        "chance": None,
        "retention": make_estimate(0.8123 / 0.8247, 0.011),
        "retention_above_chance": Estimate(value=None, reason=NO_OPTIONS),
        "difference": make_estimate(0.8247 - 0.8123, 0.008),
        "test": "paired t, documents weighted by bytes",
        "p_value": 0.00002,
        "p_adjusted": 0.00004,
        "flips": None,
        "power": make_power(detectable_drop=0.0113),
    }
    return make_entry(ref, task, teacher=0.8123, student=0.8247, **{**common, **changes})


def make_perplexity(ref: str, task: str, **changes: Any) -> Entry:
    """A perplexity under lm-eval's own name."""
    common: dict[str, Any] = {
        "metric": "perplexity",
        "unit": "perplexity",
        "retention": make_estimate(21.3742 / 22.1184, 0.009),
        "difference": make_estimate(22.1184 - 21.3742, 0.21),
        "test": "paired t of log-likelihoods",
        "lm_eval_teacher": 21.3742,
        "lm_eval_student": 22.1184,
        "power": make_power(detectable_drop=0.3),
    }
    made = make_bits(ref, task, **{**common, **changes})
    return replace(made, teacher=make_estimate(21.3742, 0.9), student=make_estimate(22.1184, 0.9))


def make_task(name: str, **changes: Any) -> TaskFacts:
    made = TaskFacts(
        task=name,
        version="1.0",
        output_type="multiple_choice",
        num_fewshot=0,
        num_docs=1000,
        num_docs_total=1000,
        prompts_digest="1" * 64,
        dataset=f"org/{name}",
        dataset_revision="0123456789abcdef" * 2 + "01234567",
    )
    return replace(made, **changes)


def make_secondary(entry: Entry, **changes: Any) -> Entry:
    return replace(entry, **{"primary": False, "verdict": None, "p_adjusted": None, **changes})


def make_verdict(ref: str, verdict: Any, counts: tuple[int, int, int], **changes: Any) -> StudentVerdict:
    num_pass, num_fail, num_inconclusive = counts
    made = StudentVerdict(
        student_ref=ref,
        verdict=verdict,
        num_pass=num_pass,
        num_fail=num_fail,
        num_inconclusive=num_inconclusive,
        mean_retention=0.9,
        worst_task=None,
        worst_retention=None,
    )
    return replace(made, **changes)


def make_retention(students: tuple[ModelFacts, ...], entries: tuple[Entry, ...], **changes: Any) -> Retention:
    made = Retention(
        criterion=Criterion(min_retention=0.95, margin=None, level=0.95),
        teacher=make_model("HuggingFaceTB/SmolLM2-135M-Instruct"),
        students=students,
        manifest=MANIFEST,
        tasks=tuple(make_task(name) for name in dict.fromkeys(entry.task for entry in entries if entry.num_tasks == 1)),
        entries=entries,
        verdicts=(),
        findings=(),
        provenance=Provenance(
            command="distill-eval compare --teacher HuggingFaceTB/SmolLM2-135M-Instruct --student runs/demo/student "
            "--tasks hellaswag,arc_easy,lambada_openai",
            versions={"torch": "2.13.0", "transformers": "5.19.0", "lm-eval": "0.4.13", "distill-eval": "0.1.0"},
            hardware="cpu, 2 threads",
            git_commit="1f3c2a7",
        ),
    )
    return replace(made, **changes)


def make_fail() -> Retention:
    """One student that fails, limited tasks, a secondary metric, undefined numbers."""
    ref = "runs/demo/student"
    no_options: dict[str, Any] = {"chance": None, "retention_above_chance": Estimate(value=None, reason=NO_OPTIONS)}
    limited = {"num_pairs": 500, "num_docs_total": 10042}
    hellaswag = make_entry(ref, "hellaswag", metric="acc_norm", teacher=0.42, student=0.256, **limited)
    lambada = make_entry(
        ref,
        "lambada_openai",
        teacher=0.33,
        student=0.3296,
        num_pairs=500,
        num_docs_total=5153,
        retention=Estimate(value=0.9988, ci_low=0.94, ci_high=None, reason="the interval is not bounded above"),
        p_value=1.0,
        p_adjusted=1.0,
        verdict="INCONCLUSIVE",
        flips=Flips(num_harmful=12, num_beneficial=12, num_wrong_to_other_wrong=None),
        power=make_power(num_docs_to_settle=1873, reason="too few discordant documents"),
        **no_options,
    )
    gsm8k = replace(
        make_entry(
            ref, "gsm8k", metric="exact_match", filter="strict-match", num_pairs=1319, student=0.0, **no_options
        ),
        teacher=make_estimate(0.0, 0.0),
        difference=make_estimate(0.0, 0.0),
        retention=Estimate(value=None, reason=NO_RETENTION),
        p_value=1.0,
        p_adjusted=1.0,
        flips=Flips(num_harmful=0, num_beneficial=0, num_wrong_to_other_wrong=1204),
        lm_eval_teacher=0.0,
    )
    entries = (
        hellaswag,
        make_secondary(make_entry(ref, "hellaswag", teacher=0.35, student=0.246, **limited)),
        make_entry(
            ref,
            "arc_easy",
            student=0.588,
            num_pairs=2376,
            retention=make_estimate(0.98, 0.012),
            p_adjusted=0.0361,
            verdict="PASS",
        ),
        lambada,
        make_secondary(make_perplexity(ref, "lambada_openai", num_pairs=500, num_docs_total=5153)),
        gsm8k,
    )
    return make_retention(
        (make_model(ref, num_parameters=81_912_576, size_bytes=163_840_000, weights_digest="c0ffee" * 10 + "beef"),),
        entries,
        verdicts=(
            make_verdict(ref, "FAIL", (1, 2, 1), mean_retention=0.863, worst_task="hellaswag", worst_retention=0.6095),
        ),
        findings=(
            Finding(weight="low", subject="run", text="transformers 5.19.0 computed both models."),
            Finding(
                weight="high",
                subject="hellaswag",
                text="Limited to 500 of 10,042 documents: a drop below 3.1 points cannot be seen.",
            ),
        ),
    )


def make_group() -> Retention:
    """Two students: one passes, one is inconclusive; a group of 7 tasks whose table is folded."""
    first, second = "org/student-w8a8@v2", "org/student-w4a16"
    entries = []
    for ref, kept, verdict, settle in ((first, 0.592, "PASS", None), (second, 0.575, "INCONCLUSIVE", 31870)):
        power = make_power(detectable_drop=0.0078, num_docs_to_settle=settle)
        entries.append(
            make_entry(
                ref,
                "mmlu",
                student=kept,
                num_tasks=7,
                num_pairs=14042,
                retention=make_estimate(kept / 0.6, 0.012),
                verdict=verdict,
                power=power,
            )
        )
        entries.extend(
            make_secondary(
                make_entry(ref, f"mmlu_subject_{number}", student=kept, group="mmlu", num_pairs=100 * number)
            )
            for number in range(1, 8)
        )
        entries.append(make_bits(ref, "wikitext", verdict="PASS"))
        entries.append(make_secondary(make_perplexity(ref, "wikitext", metric="word_perplexity")))
    return make_retention(
        (make_model(first, dtype="bfloat16", size_bytes=1_345_000_000), make_model(second, max_length=131072)),
        tuple(entries),
        verdicts=(
            make_verdict(first, "PASS", (2, 0, 0), mean_retention=0.986, worst_task="wikitext", worst_retention=0.985),
            make_verdict(
                second, "INCONCLUSIVE", (1, 0, 1), mean_retention=0.972, worst_task="mmlu", worst_retention=0.9583
            ),
        ),
    )


def make_hostile(name: str = HOSTILE) -> Retention:
    """Every foreign text is the same hostile one; the criterion is a margin."""
    ref = f"runs/{name}"
    entry = make_entry(ref, name, metric=name, filter=name)
    bits = make_bits(ref, "wikitext", verdict="FAIL", retention=Estimate(value=None, reason=name))
    made = make_retention(
        (make_model(ref, architecture=name, dtype=name, weights_digest=name),),
        (entry, bits, make_secondary(entry), make_secondary(entry, group=name)),
        criterion=Criterion(min_retention=None, margin=0.02, level=0.9),
        teacher=make_model(f"teachers/{name}"),
        verdicts=(make_verdict(ref, "FAIL", (0, 2, 0), worst_task=name, worst_retention=0.9),),
        findings=(Finding(weight="medium", subject=name, text=name),),
        provenance=Provenance(
            command=f"distill-eval compare --student '{name}'\n```\n````\n<script>alert(2)</script>",
            versions={name: name},
            hardware=name,
            git_commit=name,
        ),
    )
    return replace(made, manifest=replace(made.manifest, limit=0.125, device=name, engine=name, batch_tokens=4096))


def make_single() -> Retention:
    """Teacher and student are the same model, on one task."""
    ref = "HuggingFaceTB/SmolLM2-135M-Instruct"
    entry = make_entry(
        ref,
        "arc_easy",
        student=0.6,
        difference=make_estimate(0.0, 0.0),
        retention=make_estimate(1.0, 0.0),
        retention_above_chance=Estimate(value=None, reason=NOT_ABOVE),
        p_value=1.0,
        p_adjusted=1.0,
        flips=Flips(num_harmful=0, num_beneficial=0, num_wrong_to_other_wrong=0),
        verdict="PASS",
    )
    made = make_retention(
        (make_model(ref),),
        (entry,),
        criterion=Criterion(min_retention=None, margin=0.01, level=0.95),
        verdicts=(
            make_verdict(ref, "PASS", (1, 0, 0), mean_retention=1.0, worst_task="arc_easy", worst_retention=1.0),
        ),
    )
    return replace(made, manifest=replace(made.manifest, limit=1000.0, num_fewshot=5, apply_chat_template=True))


@pytest.fixture(scope="session")
def examples() -> SimpleNamespace:
    """Builders of hand-made comparisons and of their parts."""
    return SimpleNamespace(
        fail=make_fail,
        group=make_group,
        hostile=make_hostile,
        single=make_single,
        hostile_name=HOSTILE,
        retention=make_retention,
        entry=make_entry,
        bits=make_bits,
        secondary=make_secondary,
        model=make_model,
        verdict=make_verdict,
        task=make_task,
        estimate=make_estimate,
        power=make_power,
    )
