"""Which documents changed, and that samples of another comparison are refused."""

from dataclasses import replace

import pytest
from unit.report.conftest import make_entry, make_model, make_retention, make_secondary
from unit.report.made_page import STUDENT, changes_of, documents, entry_of

from distill_eval.errors import ArtifactError
from distill_eval.report.flips import changed, counted


def ids(pairs):
    return [pair.teacher.doc_id for pair in pairs]


def test_what_was_lost_and_won_is_told_apart_in_the_documents_order():
    found = changes_of("x=LWLx=WL")
    assert (ids(found.harmful), ids(found.beneficial)) == ([2, 4, 8], [3, 7])
    assert all(found.scored(pair.teacher).value == 1.0 for pair in found.harmful)
    teacher, student = documents("x=LWLx=WL")
    shuffled = changed(found.entry, teacher[::-1], student[3:] + student[:3], source="")
    assert ids(shuffled.harmful) == [2, 4, 8]


def test_zero_is_right_where_lower_is_better():
    entry = entry_of("LW=x=", higher_is_better=False)
    found = changed(entry, *documents("LW=x=", right=0), source="")
    assert (ids(found.harmful), ids(found.beneficial)) == ([0], [1])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda samples: samples[:-1],
        lambda samples: [replace(samples[0], doc_hash="another"), *samples[1:]],
        lambda samples: [replace(samples[0], metrics=samples[-1].metrics), *samples[1:]],
    ],
)
def test_samples_of_another_comparison_are_refused(spoil):
    teacher, student = documents("LW=x=")
    with pytest.raises(ArtifactError, match=r"a\.jsonl do not belong to their retention\.json.*compare again"):
        changed(entry_of("LW=x="), teacher, spoil(student), source="a.jsonl")


def test_a_sample_without_the_metric_is_refused():
    teacher, student = documents("LW=x=")
    with pytest.raises(ArtifactError, match="document 0 of arc_easy has no acc_norm under the filter none"):
        changed(entry_of("LW=x=", metric="acc_norm"), teacher, student, source="")


def test_a_groups_documents_are_those_of_its_tasks_under_its_metric():
    norm = make_entry(STUDENT, "mmlu", metric="acc_norm", num_tasks=2)
    leaves = [
        make_secondary(make_entry(STUDENT, task, metric=metric, group="mmlu"))
        for task in ("anatomy", "law")
        for metric in ("acc", "acc_norm")
    ]
    alone = make_entry(STUDENT, "arc_easy")
    other = make_secondary(make_entry(STUDENT, "arc_easy", metric="acc_norm"))
    text = make_entry(STUDENT, "wikitext", metric="bits_per_byte", flips=None)
    retention = make_retention((make_model(STUDENT),), (norm, *leaves, other, alone, text))
    found = counted(retention, STUDENT)
    assert [(entry.task, entry.metric) for entry in found] == [
        ("anatomy", "acc_norm"),
        ("law", "acc_norm"),
        ("arc_easy", "acc"),
    ]
    assert counted(retention, "another") == []
