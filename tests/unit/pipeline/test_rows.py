"""Rows of the table, where artifacts do not all say the same."""

from dataclasses import replace
from pathlib import Path

import pytest

from distill_eval.errors import NotComparableError
from distill_eval.pipeline.collect import Artifact, collect
from distill_eval.pipeline.mentioned import named, output_of
from distill_eval.pipeline.remarks import remarks
from distill_eval.pipeline.rows import entries_by_student, rows
from distill_eval.pipeline.speeds import table_load
from distill_eval.schema.bench import ClassifierResult, Latency, Ratio
from distill_eval.schema.model import ModelRef
from distill_eval.schema.timing import Load

REPORTS = Path(__file__).resolve().parents[3] / "reports"
VARIANTS = REPORTS / "2026-11-26-smollm2-variants"
SERVING = REPORTS / "2026-11-26-smollm2-serving"
LAYERS = REPORTS / "2026-11-26-smollm2-distilled" / "layers-15"
EMOTION = REPORTS / "2026-11-26-minilm-emotion"
TEACHER = "SmolLM2-135M-Instruct"
FASTER = Ratio(value=2.0, ci_low=1.9, ci_high=2.1, pairs=(2.0,))


@pytest.fixture(scope="module")
def timed():
    return collect([SERVING])[0]


def table(*artifacts):
    found = named(artifacts)
    return {row.name: row for row in rows(artifacts, found, entries_by_student(artifacts, found))}


def changed(artifact, where=None, **changes):
    return artifact._replace(record=replace(artifact.record, **changes), where=where or artifact.where)


def only(path) -> Artifact:
    return collect([path])[0]


def test_a_benchmark_with_another_baseline_has_no_speedups_over_the_teacher(timed):
    turned = changed(timed, models=timed.record.models[::-1])
    row = table(only(VARIANTS / "retention.json"), turned)["student"]
    assert row.speeds[0].output_throughput == timed.record.models[2].results[0].metrics.output_throughput
    assert {speed.speedup for speed in row.speeds} == {None}
    assert row.speeds[0].reason.startswith(
        f"its benchmark has {timed.record.models[-1].name} as baseline, not {TEACHER}"
    )


def test_requests_at_a_set_rate_have_no_speedup(timed):
    load = Load(kind="open", request_rate=2.0)
    models = [
        replace(one, results=tuple(replace(result, load=load) for result in one.results[:1]))
        for one in timed.record.models
    ]
    row = table(changed(timed, models=tuple(models), loads=(load,)))["student"]
    (speed,) = row.speeds
    assert (speed.load, speed.speedup) == ("2 req/s (poisson)", None)
    assert speed.reason == "at a set rate of requests throughput is that rate; the times tell"


def test_a_classifier_is_timed_by_its_batches(timed):
    batch = ClassifierResult(
        batch_size=8, what="BertForSequenceClassification, logits", texts_per_second=50.0,
        batch_ms=Latency(num=9, mean=1.0, p50=1.0, p90=1.0, p95=1.0, p99=1.0), tokenize_share=0.1, speedup=None,
        noise=None,
    )  # fmt: skip
    both = zip(timed.record.models, (None, FASTER), strict=False)
    models = tuple(replace(one, results=(), classifier_results=(replace(batch, speedup=ratio),)) for one, ratio in both)
    run = changed(timed, models=models, loads=())
    (speed,) = table(run)["teacher-w8a8"].speeds
    assert (speed.load, speed.output_throughput, speed.speedup) == ("batch size 8", 50.0, FASTER)
    assert table_load({"": run.record}) == "batch size 8"


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        (
            [Load(kind="closed", concurrency=4), Load(kind="closed", concurrency=16), Load(kind="offline")],
            "concurrency 16",
        ),
        ([Load(kind="open", request_rate=1.0), Load(kind="offline")], "offline"),
        ([Load(kind="closed", concurrency=4, ignore_eos=False), Load(kind="closed", concurrency=4)], "concurrency 4"),
        ([Load(kind="open", request_rate=1.0)], None),
    ],
    ids=["largest", "offline", "full length", "rate"],
)
def test_the_load_of_the_table(timed, loads, expected):
    assert table_load({"": replace(timed.record, loads=tuple(loads))}) == expected


def on_other_prompts(timed, **changes):
    """A second benchmark of the teacher, with one student of its own, at half the speed."""
    models = [one for one in timed.record.models if one.name in (timed.record.models[0].name, "student")]
    slow = [
        replace(
            one,
            results=tuple(
                replace(r, metrics=replace(r.metrics, output_throughput=r.metrics.output_throughput / 2))
                for r in one.results
            ),
        )
        for one in models
    ]
    rest = tuple(one for one in timed.record.models if one.name != "student")
    other = {"prompts": replace(timed.record.prompts, digest="0" * 64)} | changes
    return changed(timed, "a/bench.json", models=rest), changed(timed, "b/bench.json", models=tuple(slow), **other)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({}, "b/bench.json has other prompts than a/bench.json, which the table is of"),
        ({"hardware": "a GPU"}, "b/bench.json has other hardware (a GPU, not "),
        ({"engine": "hf"}, "b/bench.json has another engine for the teacher (hf, not vllm) than a/bench.json"),
    ],
    ids=["prompts", "hardware", "engine"],
)
def test_a_benchmark_that_is_not_alike_fills_no_row_beside_the_first(timed, what, why):
    changes = {} if not what else {"prompts": timed.record.prompts}
    if "hardware" in what:
        changes["provenance"] = replace(timed.record.provenance, **what)
    first, second = on_other_prompts(timed, **changes)
    if "engine" in what:
        second = changed(second, models=tuple(replace(one, **what) for one in second.record.models))
    found = table(first, second)
    assert found[TEACHER].speeds[0].output_throughput == timed.record.models[0].results[0].metrics.output_throughput
    assert (found["student"].speeds, found["student"].bench_engine, found["student"].peak_bytes) == ((), None, None)
    assert found["student"].reasons["speeds"].startswith(why)
    assert found["student"].size_bytes is not None
    high = [one.text for one in remarks([first, second], named([first, second]), (), None, {}) if one.weight == "high"]
    assert [text.startswith(why) for text in high] == [True]
    assert high[0].endswith(": its figures stand in its own table alone, and none of them is on the frontier.")


def test_benchmarks_that_are_alike_fill_one_table(timed):
    first, second = on_other_prompts(timed, prompts=timed.record.prompts)
    found = table(first, second)
    kept = next(one for one in timed.record.models if one.name == "student").results[0].output_throughput_speedup
    assert found["student"].speeds[0].speedup == kept
    assert [one for one in remarks([first, second], named([first, second]), (), None, {}) if one.weight == "high"] == []


def test_the_table_is_of_the_first_benchmark_that_has_the_teacher_under_its_load(timed):
    alone = replace(timed.record.models[2], results=timed.record.models[2].results[:1])
    short = changed(
        timed,
        "a/bench.json",
        models=(replace(timed.record.models[0], results=timed.record.models[0].results[:1]), alone),
        loads=timed.record.loads[:1],
    )
    found = table(short, changed(timed, "b/bench.json", models=timed.record.models[:2]))
    assert [speed.load for speed in found[TEACHER].speeds] == ["concurrency 1", "concurrency 4", "concurrency 16"]


def test_what_was_laid_beside_another_model_has_no_closeness_to_the_teacher():
    fidelity = only(VARIANTS / "fidelity.json")
    record = fidelity.record
    other = changed(fidelity, reference=record.candidates[0].model, candidates=record.candidates[1:])
    row = table(only(VARIANTS / "retention.json"), other)["w8a16"]
    assert (row.kl.value, row.kl.reason) == (None, "it was laid beside w8a8, not beside the teacher")


def test_two_fidelities_of_one_model_are_refused():
    fidelity = only(VARIANTS / "fidelity.json")
    one = fidelity.record.candidates[0]
    closer = replace(one, tokens=replace(one.tokens, top5_overlap=one.tokens.perplexity))
    with pytest.raises(NotComparableError, match=r"w8a8 has two fidelities: .*fidelity\.json and b/fidelity\.json"):
        table(fidelity, changed(fidelity, "b/fidelity.json", candidates=(closer, *fidelity.record.candidates[1:])))


def test_variants_alone_know_their_teacher_and_its_size():
    found = table(*collect([VARIANTS / "w8a8", VARIANTS / "onnx-int8"]))
    assert list(found) == [TEACHER, "w8a8", "onnx-int8"]
    assert (found[TEACHER].num_parameters, found[TEACHER].size_bytes) == (134515008, 269060552)
    assert found["w8a8"].size_ratio == pytest.approx(163382664 / 269060552)
    assert (found["w8a8"].quantization, found["onnx-int8"].quantization) == ("W8A8", "onnx int8")


def test_a_student_that_was_trained_is_the_trained_one_alone():
    artifacts = collect([LAYERS / "student.json", LAYERS / "distill.json"])
    assert list(table(*artifacts)) == [TEACHER, "layers15-distilled"]
    assert table(*artifacts)[TEACHER].num_parameters == 134515008  # student.json says so
    assert list(table(only(LAYERS / "student.json"))) == [TEACHER, "layers15"]


def test_a_teacher_that_was_trained_itself_is_the_teacher():
    found = table(*collect([EMOTION]))
    assert {name: row.role for name, row in found.items()} == {
        "emotion-teacher": "teacher",
        "emotion-3-distilled": "student",
        "emotion-3-baseline": "baseline",
    }
    assert found["emotion-teacher"].num_parameters == only(EMOTION / "teacher").record.num_parameters


def test_a_teacher_that_was_quantized_is_the_teacher():
    compared, quant = only(VARIANTS / "retention.json"), only(VARIANTS / "w8a8")
    first, *rest = compared.record.students
    turned = changed(
        compared,
        teacher=first,
        students=tuple(rest),
        entries=tuple(entry for entry in compared.record.entries if entry.student_ref != "w8a8"),
    )
    assert table(turned, quant)["w8a8"].role == "teacher"


def test_a_teacher_that_a_comparison_has_as_a_student_is_refused():
    compared = only(VARIANTS / "retention.json")
    teacher = compared.record.teacher
    twice = changed(compared, students=(teacher, *compared.record.students))
    with pytest.raises(
        NotComparableError, match=r"SmolLM2-135M-Instruct is the teacher and a student \(.*retention.json\)"
    ):
        table(twice)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("distill-eval quantize --model x --output-dir runs/w8a8", "runs/w8a8"),
        ("distill-eval quantize --output-dir=a --output-dir='b c'", "b c"),
        ("distill-eval run smoke --output-dir runs/smoke", None),
        (
            "distill-eval quantize --chain=110M,80M --output-dir runs/chain",
            None,
        ),  # of several
        ("", None),
    ],
)
def test_the_folder_that_a_command_names(command, expected):
    one = only(VARIANTS / "w8a8")
    made = changed(one, provenance=replace(one.record.provenance, command=command))
    assert output_of(made) == expected


@pytest.fixture
def chain():
    """The trainings of an assistant and of a student, both moved with their run."""
    run = only(LAYERS / "distill.json")
    provenance = replace(run.record.provenance, command="distill-eval run progressive")

    def link(folder, teacher, size):
        where = f"out/{folder}/student/distill.json"
        teachers = (ModelRef.parse(teacher),)
        return changed(run, where, teachers=teachers, size_bytes=size, num_parameters=size, provenance=provenance)

    return link("1-110M", "org/teacher", 110), link("2-80M", "/then/out/1-110M/student", 80)


def test_an_assistant_that_nothing_measured_has_a_name_and_no_row(chain):
    found = named(chain)
    assert list(found.models) == ["teacher", "80M"]
    assert found.made == {"out/1-110M/student/distill.json": "110M", "out/2-80M/student/distill.json": "80M"} | {
        where: name for where, name in found.made.items() if name == "teacher"
    }
    assert list(table(*chain)) == ["teacher", "80M"]
    assert list(named(chain[:1]).models) == ["teacher", "110M"]  # a student, as long as it taught nobody


def test_an_assistant_that_was_measured_has_a_row(chain, timed):
    first, second = timed.record.models[:2]
    its = replace(second, ref="out/1-110M/student", memory=replace(second.memory, weights_bytes=110))
    run = changed(timed, models=(replace(first, ref="org/teacher"), its), noise=())
    assert list(named((run, *chain)).models) == ["teacher", "110M", "80M"]


def test_two_chains_of_the_same_sizes_keep_their_folders(chain):
    other = [changed(one, one.where.replace("out/", "new/"), size_bytes=one.record.size_bytes + 9) for one in chain]
    assert set(named((*chain, *other)).models) == {"teacher", "out/2-80M/student", "new/2-80M/student"}
