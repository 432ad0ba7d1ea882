"""Which entries a verdict rests on."""

import pytest
from scipy.stats import t
from unit.compare.build import Column, Task, binary, evaluated, group, run, text

RIGHT = [1, 0, 1, 1, 0, 1]
WRONG = [1, 0, 0, 1, 0, 1]


def entries(tasks, groups, others=None, **options):
    teacher = evaluated("big", tasks, groups=groups)
    student = evaluated("small", others or tasks, groups=groups)
    return {(e.task, e.metric, e.filter): e for e in run(teacher, student, **options).entries}


def primary(found):
    return [key for key, entry in found.items() if entry.primary]


def test_the_group_has_the_verdict_and_its_members_have_none():
    tasks = {name: binary(RIGHT) for name in ("a", "b", "c")}
    found = entries(tasks, [group("abc", tasks)])
    assert primary(found) == [("abc", "acc", "none")]
    assert [(e.group, e.verdict is None, e.p_adjusted) for e in found.values()][1:] == [("abc", True, None)] * 3
    whole = found["abc", "acc", "none"]
    assert (whole.num_tasks, whole.num_pairs, whole.group, whole.test) == (3, 18, None, "exact sign test")
    assert (whole.verdict, whole.difference.value) == ("INCONCLUSIVE", 0.0)


def test_members_of_a_group_that_only_collects_have_verdicts():
    tasks = {name: binary(RIGHT) for name in ("a", "b")}
    found = entries(tasks, [group("tag", tasks, metrics=())])
    assert primary(found) == [("a", "acc", "none"), ("b", "acc", "none")]
    assert {entry.group for entry in found.values()} == {"tag"}


def test_a_group_without_a_task_that_has_its_metric_only_collects():
    tasks = {name: binary(RIGHT) for name in ("a", "b")}
    assert primary(entries(tasks, [group("odd", tasks, metrics=["f1"])])) == [
        ("a", "acc", "none"),
        ("b", "acc", "none"),
    ]


def test_a_task_beside_a_group_has_its_own_verdict():
    tasks = {name: binary(RIGHT) for name in ("a", "b", "alone")}
    assert primary(entries(tasks, [group("ab", ["a", "b"])])) == [("ab", "acc", "none"), ("alone", "acc", "none")]


def test_subgroups_are_shown_below_the_largest():
    tasks = {name: binary(RIGHT) for name in ("a", "b", "c", "d")}
    found = entries(tasks, [group("all", tasks), group("half", ["a", "b"])])
    assert primary(found) == [("all", "acc", "none")]
    assert found["half", "acc", "none"].group == "all"
    assert found["a", "acc", "none"].group == "half"
    assert found["c", "acc", "none"].group == "all"


def test_the_groups_verdict_follows_its_tasks_primary_metric():
    def task():
        return Task([Column([1.0, 0.0], primary=False), Column([1.0, 1.0], metric="acc_norm")])

    tasks = {"a": task(), "b": task()}
    assert primary(entries(tasks, [group("ab", tasks, metrics=["acc", "acc_norm"])])) == [("ab", "acc_norm", "none")]
    assert primary(entries(tasks, [group("ab", tasks, metrics=["acc"])])) == [("ab", "acc", "none")]


def test_a_task_without_the_groups_metric_is_no_part_of_it_and_has_its_own_verdict():
    tasks = {"a": binary(RIGHT), "b": binary(RIGHT), "c": binary(RIGHT, metric="exact_match")}
    found = entries(tasks, [group("abc", tasks)])
    assert found["abc", "acc", "none"].num_tasks == 2
    assert primary(found) == [("abc", "acc", "none"), ("c", "exact_match", "none")]
    assert found["c", "exact_match", "none"].group == "abc"


def test_a_subgroup_without_the_groups_metric_has_its_own_verdict():
    """As in evalita-mp, which aggregates acc and holds a subgroup that aggregates f1."""
    right = {name: binary([1] * 50) for name in ("a", "b")}
    names = {name: binary([1] * 50, metric="f1") for name in ("ner_a", "ner_b")}
    lost = {name: binary([0] * 50, metric="f1") for name in names}
    groups = [group("all", right | names), group("ner", names, metrics=["f1"])]
    found = entries(right | names, groups, right | lost)
    assert primary(found) == [("all", "acc", "none"), ("ner", "f1", "none")]
    assert found["ner", "f1", "none"].verdict == "FAIL"
    assert found["ner", "f1", "none"].group == "all"
    assert found["ner_a", "f1", "none"].group == "ner"


def test_of_groups_with_the_same_tasks_the_outer_one_has_the_verdict():
    tasks = {name: binary(RIGHT) for name in ("a", "b")}
    found = entries(tasks, [group("outer", tasks), group("inner", tasks)])
    assert primary(found) == [("outer", "acc", "none")]
    assert found["inner", "acc", "none"].group == "outer"


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_a_group_of_single_documents_that_all_agree_is_no_evidence(kind):
    """As from `--tasks mmlu --limit 1`: about 4 documents that nobody has seen may all be lost."""
    tasks = {f"task{index}": binary([1], kind=kind) for index in range(57)}
    whole = entries(tasks, [group("mmlu", tasks)], margin=0.02)["mmlu", "acc", "none"]
    unseen = t.ppf(0.975, 56) ** 2
    assert whole.contrast.value == 0.02
    assert whole.contrast.ci_low == pytest.approx(0.02 - unseen / (57 + unseen))
    assert whole.verdict == "INCONCLUSIVE"


def test_a_group_of_one_is_its_task():
    found = entries({"a": binary(RIGHT)}, [group("one", ["a"])], {"a": binary(WRONG)})
    assert found["one", "acc", "none"].difference == found["a", "acc", "none"].difference
    assert found["one", "acc", "none"].test == "exact McNemar"


def test_scores_of_groups_are_lm_evals():
    tasks = {"a": binary([1, 0]), "b": binary([1, 1, 1, 1, 0, 0])}
    found = entries(tasks, [group("ab", tasks)])["ab", "acc", "none"]
    assert (found.teacher.value, found.lm_eval_teacher) == (0.625, 0.625)
    found = entries(tasks, [group("ab", tasks, weight_by_size=False)])["ab", "acc", "none"]
    assert found.teacher.value == pytest.approx((1 / 2 + 4 / 6) / 2)
    assert found.lm_eval_teacher == pytest.approx((1 / 2 + 4 / 6) / 2)


def test_a_group_of_texts_is_the_mean_of_their_bits_per_byte():
    tasks = {"a": text([1.0, 1.0], [100, 300]), "b": text([2.0, 2.0, 2.0, 2.0], [10, 10, 10, 10])}
    found = entries(tasks, [group("texts", tasks, metrics=["word_perplexity", "byte_perplexity"])])
    assert primary(found) == [("texts", "bits_per_byte", "none")]
    whole = found["texts", "bits_per_byte", "none"]
    assert whole.teacher.value == pytest.approx((2 * 1.0 + 4 * 2.0) / 6)
    assert (whole.unit, whole.higher_is_better) == ("bits/byte", False)
    shown = found["texts", "byte_perplexity", "none"]
    assert (shown.teacher.value, shown.lm_eval_teacher) == pytest.approx((20 / 6, 20 / 6))
    assert (shown.unit, shown.verdict) == ("perplexity", None)


def test_a_group_that_aggregates_perplexities_is_judged_by_bits_per_byte_whatever_its_tasks_are():
    tasks = {name: Task([Column([1.0, 0.0]), *lambada().columns]) for name in ("a", "b")}
    found = entries(tasks, [group("texts", tasks, metrics=["perplexity"])])
    assert primary(found) == [("texts", "bits_per_byte", "none")]


def lambada():
    return text([1.0, 1.2], [10, 30], metrics=["perplexity"], primary=False)


def test_a_group_of_unlike_metrics_has_no_interval_and_says_so():
    tasks = {"a": binary(RIGHT, metric="score"), "b": text([1.0, 1.2], [100, 300], metrics=["perplexity"])}
    tasks["b"].columns[0].metric = "score"
    found = entries(tasks, [group("odd", tasks, metrics=["score"])])["odd", "score", "none"]
    assert (found.verdict, found.contrast.value) == ("INCONCLUSIVE", None)
    assert found.contrast.reason == "its tasks measure this in different units"


def test_a_group_of_corpus_metrics_rests_on_its_tasks_scores():
    def corpus(*scores):
        names = [f"task{index}" for index in range(len(scores))]
        return {
            name: Task([Column(metric="bleu", kind="corpus", aggregation="bleu", items=["[1, 1]"] * 30, score=score)])
            for name, score in zip(names, scores, strict=True)
        }

    tasks, others = corpus(30.0, 40.0, 35.0), corpus(29.0, 38.0, 36.0)
    found = entries(tasks, [group("mt", tasks, metrics=["bleu"])], others)
    whole = found["mt", "bleu", "none"]
    assert whole.difference.value == pytest.approx(-2 / 3)
    assert whole.difference.ci_low < -2 / 3 < whole.difference.ci_high
    assert whole.test == "clustered t"
    assert found["task0", "bleu", "none"].difference.value == -1.0
    assert found["task0", "bleu", "none"].test is None
