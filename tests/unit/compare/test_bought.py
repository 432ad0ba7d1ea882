"""What distillation bought: where there is no gap, what is adjusted, what is found, and who is held against whom."""

import json
from dataclasses import replace

import pytest
from unit.compare.build import Column, Task, binary, cells, evaluated, group, run, text
from unit.compare.test_gap import only, real

from distill_eval.errors import NotComparableError
from distill_eval.record import from_json, to_json
from distill_eval.schema.retention import Retention

NO_GAP = "the baseline cannot be told from the teacher on these {} documents: there is no gap to recover"


def right(number, of=250):
    """The first so many of the documents right."""
    return binary([1] * number + [0] * (of - number))


def reason(student, teacher, baseline, **options):
    found = only(student, teacher, baseline, **options).bought
    assert (found.gap_recovered.value, found.gap_recovered.ci_low, found.gap_recovered.stderr) == (None, None, None)
    return found, found.gap_recovered.reason


# Where there is no gap.


def test_a_baseline_like_its_teacher_leaves_no_gap_but_what_was_bought_is_known():
    found, why = reason(right(165), right(150), right(150))
    assert why == NO_GAP.format(250)
    assert (found.difference.value, found.p_value < 1e-4, found.outcome) == (0.06, True, "better")


def test_a_gap_within_the_noise_is_none():
    teacher, baseline = cells(both=500, student_only=45, teacher_only=60, neither=395)
    found, why = reason(right(600, of=1000), binary(teacher), binary(baseline))
    assert found.gap.ci_low < 0 < found.gap.ci_high
    assert why == NO_GAP.format("1,000")


def test_a_baseline_that_is_better_than_its_teacher_leaves_no_gap():
    _, why = reason(right(150), right(125), right(140))
    assert why == "the baseline is better than the teacher: there is no gap to recover"
    bits = [
        text([value + 0.01 * (i % n) for i in range(50)], [100] * 50) for value, n in ((1.0, 7), (1.3, 6), (1.1, 5))
    ]
    assert reason(*bits)[1] == why


def test_one_document_is_no_gap():
    why = "1 document(s) show no variance to make an interval from"
    assert reason(binary([1]), binary([1]), binary([0]))[1] == why
    assert reason(real([0.5]), real([0.9]), real([0.1]))[1] == why
    assert reason(*(text([bits], [80]) for bits in (1.0, 0.9, 1.2)))[1] == why


def corpus(answers, aggregation, score):
    items = [json.dumps(["a", answer]) for answer in answers]
    return Task([Column(metric=aggregation, kind="corpus", aggregation=aggregation, items=items, score=score)])


def test_a_corpus_metric_that_is_not_understood_keeps_its_difference_and_says_why():
    found, why = reason(*(corpus("abc", "bleu", score) for score in (27.0, 30.0, 25.0)))
    assert why == "the aggregation bleu is not one whose uncertainty is known (f1, matthews_corrcoef, mcc)"
    assert (found.baseline.value, found.difference.value, found.gap.value) == (25.0, 2.0, 5.0)
    assert (found.test, found.p_value, found.p_adjusted, found.outcome) == (None, None, None, None)


def test_answers_that_are_too_many_only_with_all_three_models_are_said():
    """Each pair of models has at most 20 labels, all three together more."""
    gold = ["a", "b"] * 50

    def model(name, num_swapped):
        swapped = ["b" if label == "a" else "a" for label in gold[:num_swapped]]
        given = [*swapped, *gold[num_swapped:91], *(f"{name}{index}" for index in range(9))]
        items = [json.dumps(both) for both in zip(gold, given, strict=True)]
        return Task([Column(metric="mcc", kind="corpus", aggregation="mcc", items=items, score=0.5)])

    _, why = reason(model("s", 20), model("t", 0), model("b", 40))
    assert why == "29 distinct answers are more than the 20 of a classification"


def test_documents_without_a_number_are_said():
    task = real([0.5, 0.6, 0.7])
    holes = Task([replace(real([0.5, 0.6, 0.7]).columns[0], values=[0.5, None, 0.7], score=0.6)])
    _, why = reason(task, task, holes)
    assert why == "1 of 3 documents have no number under this metric"


# What is adjusted, and what follows.


def whole(**options):
    """Three tasks: much bought, something lost, nothing seen; and a group."""
    tasks = {
        "arc": (right(140), right(160), right(125)),
        "boolq": (right(125), right(160), right(137)),
        "sciq": (right(125), right(160), binary([0, *[1] * 125, *[0] * 124])),
        "mmlu_a": (right(130), right(160), right(125)),
        "mmlu_b": (right(130), right(160), right(125)),
    }
    groups = [group("mmlu", ["mmlu_a", "mmlu_b"])]
    models = [{name: three[index] for name, three in tasks.items()} for index in range(3)]
    student, teacher, baseline = (
        evaluated(ref, one, groups=groups, **options.pop(ref, {}))
        for ref, one in zip(("small", "big", "bare"), models, strict=True)
    )
    return teacher, student, baseline


def test_holm_adjusts_over_the_primary_entries():
    teacher, student, baseline = whole()
    found = run(teacher, student, baselines=[baseline])
    bought = {entry.task: entry.bought for entry in found.entries}
    assert {task for task, one in bought.items() if one is not None} == {"mmlu", "arc", "boolq", "sciq"}
    raw = sorted((one.p_value, task) for task, one in bought.items() if one is not None)
    highest = 0.0
    for place, (p_value, task) in enumerate(raw):
        highest = max(highest, min(1.0, (4 - place) * p_value))
        assert bought[task].p_adjusted == pytest.approx(highest)
    outcomes = {task: one.outcome for task, one in bought.items() if one is not None}
    assert outcomes == {"mmlu": "better", "arc": "better", "boolq": "worse", "sciq": "unclear"}


def test_what_is_better_where_lower_is():
    bits = [text([value + 0.01 * (i % 7) for i in range(50)], [100] * 50) for value in (1.2, 1.0, 1.3)]
    found = only(*bits).bought
    assert (found.difference.value, found.gap_recovered.value) == (pytest.approx(-0.1), pytest.approx(1 / 3))
    assert found.outcome == "better"
    assert only(bits[2], bits[1], bits[0]).bought.outcome == "worse"


def test_the_level_decides_what_is_clear():
    student, teacher, baseline = right(125), right(180), right(120)
    assert only(student, teacher, baseline).bought.p_value == pytest.approx(2 / 2**5)
    assert only(student, teacher, baseline).bought.outcome == "unclear"
    assert only(student, teacher, baseline, level=0.9).bought.outcome == "better"


def test_the_rest_of_a_comparison_does_not_depend_on_the_baseline():
    teacher, student, baseline = whole()
    plain, found = run(teacher, student), run(teacher, student, baselines=[baseline])
    assert plain.baselines == ()
    assert [replace(entry, bought=None) for entry in found.entries] == list(plain.entries)
    assert (found.verdicts, found.students, found.tasks) == (plain.verdicts, plain.students, plain.tasks)
    assert run(teacher, student, baselines=[None]) == plain


def test_students_with_their_own_a_shared_and_no_baseline():
    teacher, student, baseline = whole()
    other, third = (
        one._replace(run=replace(one.run, model=replace(one.run.model, ref=ref)))
        for one, ref in ((student, "two"), (student, "three"))
    )
    bare = baseline._replace(run=replace(baseline.run, model=replace(baseline.run.model, ref="bare two")))
    found = run(teacher, student, other, third, baselines=[baseline, None, bare])
    against = {
        (entry.student_ref, entry.bought and entry.bought.baseline_ref) for entry in found.entries if entry.primary
    }
    assert against == {("small", "bare"), ("two", None), ("three", "bare two")}
    assert [model.ref for model in found.baselines] == ["bare", "bare two"]
    shared = run(teacher, student, other, baselines=[baseline, baseline])
    assert [model.ref for model in shared.baselines] == ["bare"]


def test_the_order_of_documents_changes_no_byte_and_it_reads_back():
    teacher, student, baseline = whole()
    found = run(teacher, student, baselines=[baseline])
    shuffled = {name: list(samples)[::-1] for name, samples in baseline.samples.items()}
    assert to_json(run(teacher, student, baselines=[baseline._replace(samples=shuffled)])) == to_json(found)
    assert from_json(Retention, to_json(found), source="test") == found


def test_a_baseline_on_other_documents_is_refused_by_its_name():
    teacher, student, _ = whole()
    other = evaluated("bare", {"arc": right(125, of=249)})
    with pytest.raises(NotComparableError, match=r"^bare cannot be compared with the teacher big\. They differ in"):
        run(teacher, student, baselines=[other])


# Findings.


def findings(*models):
    return [
        (one.weight, one.subject, one.text)
        for one in run(models[0], models[1], baselines=[models[2]], margin=0.5).findings
    ]


def test_harm_is_found():
    teacher, student, baseline = whole()
    assert findings(teacher, student, baseline)[0] == (
        "high",
        "small",
        "Is worse than its baseline bare on boolq (-4.8 points): there distillation did harm.",
    )


def test_nothing_bought_on_any_task_is_found():
    teacher, student, _ = whole()
    same = student._replace(run=replace(student.run, model=replace(student.run.model, ref="bare")))
    assert findings(teacher, student, same)[0] == (
        "high",
        "small",
        "Cannot be told from its baseline bare on mmlu, arc, boolq and 1 more tasks: no gain of distillation is shown.",
    )


def test_a_baseline_that_is_another_kind_of_student_is_found():
    teacher, student, baseline = whole(bare={"model": {"num_parameters": 2000}, "dtype": "bfloat16"})
    texts = findings(teacher, student, baseline)
    assert texts[0] == (
        "high",
        "small",
        (
            "Is a LlamaForCausalLM of 1,000 parameters, its baseline bare a LlamaForCausalLM of 2,000: the difference "
            "is not distillation's alone."
        ),
    )
    assert (
        "medium",
        "bare",
        "Run in bfloat16, the teacher in float32: part of the difference may be the dtype's.",
    ) in texts
