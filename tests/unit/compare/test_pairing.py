"""Bringing two evaluations together, and refusing to."""

from dataclasses import replace

import pytest
from unit.compare.build import Column, Task, binary, evaluated, group

from distill_eval.compare.pairing import Evaluated, pair, pair_metric
from distill_eval.errors import ArtifactError, NotComparableError

ENDING = (
    ". Expected the same documents under the same prompts: evaluate both with the same options and lm-eval version, "
    "in one `distill-eval compare --teacher ... --student ...`"
)


def refusal(student, teacher=None):
    with pytest.raises(NotComparableError) as error:
        pair(teacher or evaluated("big", {"arc": binary([1, 0, 1])}), student)
    text = str(error.value)
    start = "small cannot be compared with the teacher big. They differ in "
    assert text.startswith(start)
    assert text.endswith(ENDING)
    return text.removeprefix(start).removesuffix(ENDING)


def small(changes=None, **manifest):
    return evaluated("small", {"arc": binary([1, 1, 1], changes=changes or {})}, **manifest)


def test_documents_are_joined_by_id_whatever_their_order():
    teacher = evaluated("big", {"arc": binary([1, 0, 0])})
    student = evaluated("small", {"arc": binary([0, 1, 1], order=[2, 0, 1])})
    metric = pair_metric(pair(teacher, student)["arc"], "acc", "none")
    assert [(t.value, s.value) for t, s in metric.samples] == [(1.0, 0.0), (0.0, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "2.0"}, "arc: version (teacher 1.0, student 2.0)"),
        ({"num_fewshot": 5}, "arc: num_fewshot (teacher 0, student 5)"),
        ({"output_type": "generate_until"}, "arc: output type (teacher multiple_choice, student generate_until)"),
        ({"prompts_digest": "q" * 64}, "arc: prompts"),
        ({"num_docs_total": 9}, "arc: documents in all (teacher 3, student 9)"),
        ({"version": "2.0", "prompts_digest": "q"}, "arc: version (teacher 1.0, student 2.0); arc: prompts"),
    ],
)
def test_tasks_that_differ_are_refused_by_field(changes, said):
    assert refusal(small(changes)) == said


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"limit": 100.0}, "run: limit (teacher none, student 100.0)"),
        ({"apply_chat_template": True}, "run: apply_chat_template (teacher False, student True)"),
        ({"chat_template_digest": "abc"}, "run: chat template"),
    ],
)
def test_runs_that_differ_are_refused_by_field(manifest, said):
    assert refusal(small(**manifest)) == said


def test_other_filters_are_refused_with_their_names():
    teacher = evaluated("big", {"gsm8k": binary([1, 0], metric="exact_match", filter="strict-match")})
    student = evaluated("small", {"gsm8k": binary([1, 0], metric="exact_match", filter="flexible-extract")})
    expected = "exact_match under flexible-extract, exact_match under strict-match"
    assert refusal(student, teacher) == f"gsm8k: metrics and filters (only one of the two has {expected})"


def test_other_tasks_and_groups_are_refused_with_their_names():
    teacher = evaluated("big", {"arc": binary([1]), "boolq": binary([1])})
    student = evaluated("small", {"arc": binary([1]), "piqa": binary([1])})
    assert refusal(student, teacher) == (
        "run: only the teacher has the tasks boolq; run: only the student has the tasks piqa"
    )
    assert refusal(small(groups=[group("all", ["arc"])])) == "run: groups of tasks"


def test_many_differences_are_counted_not_listed():
    tasks = {f"task{index}": binary([1]) for index in range(15)}
    changed = {name: binary([1], changes={"version": "2.0"}) for name in tasks}
    said = refusal(evaluated("small", changed), evaluated("big", tasks))
    assert said.count("version") == 10
    assert said.endswith("; and 5 more")


def test_what_may_differ_is_not_refused():
    student = small(dtype="bfloat16", engine="vllm", device="cuda", batch_tokens=512, scorer="plain", seed=1)
    student = Evaluated(
        replace(student.run, model=replace(student.run.model, tokenizer_digest="other")), student.samples
    )
    assert list(pair(evaluated("big", {"arc": binary([1, 0, 1])}), student)) == ["arc"]


def test_other_documents_are_refused():
    student = small()
    samples = [replace(student.samples["arc"][0], doc_hash="changed"), *student.samples["arc"][1:]]
    with pytest.raises(NotComparableError, match=r"1 documents of arc are not the same .* the first is document 0"):
        pair(evaluated("big", {"arc": binary([1, 0, 1])}), Evaluated(student.run, {"arc": samples}))


@pytest.mark.parametrize("kept", [0, 2])
def test_missing_documents_are_damage(kept):
    student = small()
    with pytest.raises(
        ArtifactError, match=f"small has {kept} samples of {kept} different documents for arc, expected"
    ):
        pair(
            evaluated("big", {"arc": binary([1, 0, 1])}), Evaluated(student.run, {"arc": student.samples["arc"][:kept]})
        )


def test_a_document_twice_is_damage():
    student = small()
    twice = [student.samples["arc"][0], *student.samples["arc"][:2]]
    with pytest.raises(ArtifactError, match="small has 3 samples of 2 different documents"):
        pair(evaluated("big", {"arc": binary([1, 0, 1])}), Evaluated(student.run, {"arc": twice}))


def test_a_document_without_the_metric_is_damage():
    teacher = evaluated(
        "big", {"arc": Task([Column([1.0, 0.0]), Column([1.0, 1.0], metric="acc_norm", primary=False)])}
    )
    bare = [replace(sample, metrics=sample.metrics[:1]) for sample in teacher.samples["arc"]]
    task = pair(teacher, Evaluated(teacher.run, {"arc": bare}))["arc"]
    with pytest.raises(ArtifactError, match="document 0 of arc has no acc_norm under the filter none"):
        pair_metric(task, "acc_norm", "none")
