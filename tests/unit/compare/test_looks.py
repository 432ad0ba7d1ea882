"""The order in which documents are taken, the looks, and comparisons that were stopped when their verdicts held."""

from dataclasses import replace

import numpy as np
import pytest
from unit.compare.build import PROVENANCE, Column, Task, binary, criterion, evaluated, group, text

from distill_eval.compare import Looked, bounded, compare, shuffled, undecided
from distill_eval.errors import NotComparableError


def part(task, documents):
    """A task with these documents alone."""
    order = sorted(documents)
    columns = [replace(column, values=[column.values[i] for i in order]) for column in task.columns]
    return replace(task, columns=columns, total=len(task.columns[0]))


def only(ref, tasks, looked, **options):
    """An evaluation of the documents that were taken, each under its own number."""
    found = evaluated(ref, {name: part(tasks[name], ids) for name, ids in looked.documents.items()}, **options)
    samples = {
        name: [
            replace(sample, doc_id=document, doc_hash=f"hash-{name}-{document}")
            for sample, document in zip(found.samples[name], sorted(ids), strict=True)
        ]
        for name, ids in looked.documents.items()
    }
    return found._replace(samples=samples)


def at_look(number, sizes, name="t", seed=3):
    """After so many looks."""
    looked = shuffled(name, sizes, seed)
    for _ in range(number):
        looked = looked.further()
    return looked


def right(share, num_docs, seed):
    return (np.random.default_rng(seed).random(num_docs) < share).astype(int)


def judged(teacher, student, looked, **options):
    asked = {"seed": 0, "provenance": PROVENANCE, "looks": [looked]}
    return compare(only("t", teacher, looked, **options), [only("s", student, looked, **options)], criterion(), **asked)


def test_every_document_comes_once_in_an_order_of_its_own_for_every_seed():
    looked = shuffled("g", {"a": 50, "b": 30}, 3)
    assert sorted(looked.order) == [("a", i) for i in range(50)] + [("b", i) for i in range(30)]
    assert looked.order == shuffled("other name", {"a": 50, "b": 30}, 3).order
    assert looked.order != shuffled("g", {"a": 50, "b": 30}, 4).order
    alone = [document for task, document in looked.order if task == "a"]
    assert alone == [document for _, document in shuffled("a", {"a": 50}, 3).order]


def test_looks_come_after_64_documents_and_then_a_quarter_more_each():
    looked = at_look(4, {"a": 150})
    assert looked.looks == (64, 80, 100, 125)
    assert looked.further().looks[-1] == 150
    assert looked.further().exhausted
    assert looked.further().further() == looked.further()
    assert at_look(1, {"a": 20}).looks == (20,)


def test_the_first_look_at_a_group_has_a_document_of_each_task():
    looked = at_look(1, {"large": 5000, "small": 10})
    assert looked.looks[0] > 64
    assert len(looked.documents["small"]) == 1
    assert sum(map(len, looked.documents.values())) == looked.looks[0]


@pytest.mark.parametrize(
    ("metric", "known"), [("acc", True), ("acc_norm", True), ("exact_match", True), ("f1", True), ("bleu", False)]
)
def test_metrics_from_0_to_1_are_known(metric, known):
    assert bounded(metric) is known


def test_a_task_ends_with_its_looks_and_with_intervals_that_allow_for_them():
    teacher, student = {"t": binary(right(0.6, 400, 0))}, {"t": binary(right(0.1, 400, 1))}
    looked = at_look(2, {"t": 400})
    evaluations = only("t", teacher, looked), [only("s", student, looked)]
    assert undecided(*evaluations, criterion(), seed=0, looks=[looked]) == set()
    entry = judged(teacher, student, looked).entries[0]
    assert (entry.num_pairs, entry.num_docs_total, entry.verdict) == (80, 400, "FAIL")
    assert entry.test == "betting, at any look"
    adaptive = entry.adaptive
    assert (adaptive.num_docs, adaptive.num_docs_total, adaptive.stopped) == (80, 400, "verdict")
    assert [look.num_docs for look in adaptive.looks] == [64, 80]
    assert (adaptive.looks[-1].ci_low, adaptive.looks[-1].ci_high) == (entry.contrast.ci_low, entry.contrast.ci_high)
    assert entry.contrast.ci_low < adaptive.usual_ci_low < adaptive.usual_ci_high < entry.contrast.ci_high


def test_at_the_limit_nothing_is_decided_and_the_report_says_that_all_were_taken():
    same = {"t": binary([1, 0] * 60)}
    looked = at_look(9, {"t": 120})
    found = judged(same, {"t": binary([1, 0] * 57 + [0] * 6)}, looked)
    assert found.entries[0].verdict == "INCONCLUSIVE"
    assert found.entries[0].adaptive.stopped == "documents"
    texts = [finding.text for finding in found.findings]
    assert "All 120 documents were taken, with 4 looks: its intervals allow for that." in texts


def test_the_finding_counts_the_documents_that_were_enough():
    found = judged({"t": binary(right(0.6, 4000, 0))}, {"t": binary(right(0.1, 4000, 1))}, at_look(2, {"t": 4000}))
    assert any(finding.text.startswith("80 of 4,000 documents were enough") for finding in found.findings)


def test_a_group_is_looked_at_as_its_documents_together_and_its_members_too():
    sizes = {"a": 300, "b": 100}
    teacher = {name: binary(right(0.7, size, 1)) for name, size in sizes.items()}
    student = {name: binary(right(0.1, size, 2)) for name, size in sizes.items()}
    looked = at_look(3, sizes, name="g")
    found = judged(teacher, student, looked, groups=[group("g", sizes)])
    whole, *members = found.entries
    assert (whole.task, whole.num_pairs, whole.verdict) == ("g", 100, "FAIL")
    assert [member.adaptive for member in members] == [None, None]
    assert {member.test for member in members} == {"betting, at any look"}
    counts = {name: len(ids) for name, ids in looked.documents.items()}
    assert {member.task: member.num_pairs for member in members} == counts


def test_in_a_mean_over_tasks_each_task_counts_alike():
    sizes = {"a": 900, "b": 100}
    teacher = {"a": binary([1] * 900), "b": binary([1] * 100)}
    student = {"a": binary([1] * 900), "b": binary([0] * 100)}
    looked = at_look(20, sizes, name="g")
    found = judged(teacher, student, looked, groups=[group("g", sizes, weight_by_size=False)]).entries[0]
    assert found.difference.value == pytest.approx(-0.5)
    assert found.difference.ci_low < -0.5 < found.difference.ci_high
    assert found.verdict == "FAIL"


def test_other_metrics_without_bounds_have_no_interval():
    column = Column(list(np.linspace(0, 30, 100)), metric="bleu", kind="real", primary=False)
    task = {"t": Task([Column([1, 0] * 50), column])}
    entry = judged(task, task, at_look(2, {"t": 100})).entries[1]
    assert (entry.metric, entry.retention.value, entry.test) == ("bleu", None, None)
    assert "no interval holds after several looks" in entry.retention.reason
    assert entry.teacher.value is not None


def test_a_perplexity_is_never_decided():
    bits = {"t": text([1.0] * 80, [100] * 80)}
    looked = at_look(2, {"t": 80})
    evaluations = only_all("t", bits), [only_all("s", bits)]
    assert undecided(*evaluations, criterion(), seed=0, looks=[looked]) == {"t"}


def only_all(ref, tasks):
    return evaluated(ref, tasks)


def test_tasks_that_were_not_taken_together_have_no_interval_together():
    same = {name: binary([1, 0] * 50) for name in ("a", "b")}
    looks = [Looked(name, {name: 100}, [(name, i) for i in range(100)], (64, 100)) for name in ("a", "b")]
    grouped = [evaluated(ref, same, groups=[group("g", same)]) for ref in ("t", "s")]
    with pytest.raises(NotComparableError, match="were not taken in one order"):
        compare(grouped[0], grouped[1:], criterion(), seed=0, provenance=PROVENANCE, looks=looks)
