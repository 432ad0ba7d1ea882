"""From responses to samples and scores, and which groups and tasks are planned to carry a verdict."""

import json
import math
from types import SimpleNamespace

import pytest
from lm_eval.api.metrics import mean, nanmean, perplexity, weighted_perplexity

from distill_eval.evaluate.harness import results
from distill_eval.evaluate.harness.planned import planned
from distill_eval.evaluate.kept import PlannedTask
from distill_eval.record import to_json_line

NAN = float("nan")


class FakeTask:
    """As much of lm-eval's task as is asked: what each document gives, and how it is aggregated."""

    task_name = "fake"
    OUTPUT_TYPE = "loglikelihood"

    def __init__(self, aggregations, documents=()):
        self._aggregations, self._documents = aggregations, documents
        self.instances = [
            SimpleNamespace(
                doc_id=i, idx=0, args=("q", "a"), resps=[(-1.0, True)], filtered_resps={"none": (-1.0, True)}
            )
            for i in range(len(documents))
        ]

    def apply_filters(self):
        assert self.instances

    def doc_iterator(self, limit):
        return enumerate(range(limit))

    def process_results(self, doc, filtered):
        return self._documents[doc]

    def aggregation(self):
        return self._aggregations

    def higher_is_better(self):
        return {}

    def doc_to_target(self, doc):
        return "a"


def scored(aggregations, *documents):
    runs, samples = results.score(FakeTask(aggregations, documents), len(documents))
    lines = "".join(to_json_line(sample) for sample in samples)
    assert "NaN" not in lines
    assert "Infinity" not in lines
    return {run.metric: run for run in runs}, [{one.metric: one for one in sample.metrics} for sample in samples]


def test_scores_that_are_not_numbers_are_none_with_a_reason():
    """As bbq gives for the categories that a limited run has no document of."""
    runs, samples = scored(
        {"acc": mean, "bias": lambda values: NAN, "rouge": mean},
        {"acc": 1.0, "bias": (1.0, NAN, -math.inf), "rouge": NAN},
        {"acc": 0.0, "bias": (0.0, 0.5, NAN), "rouge": 0.5},
    )
    assert (runs["acc"].value, runs["acc"].value_reason, runs["acc"].primary) == (0.5, None, True)
    for name in ("bias", "rouge"):
        assert runs[name].value is None
        assert runs[name].value_reason == "lm-eval's aggregation gives nan on these documents"
    assert [json.loads(sample["bias"].item) for sample in samples] == [[1.0, None, None], [0.0, 0.5, None]]


def test_a_document_that_does_not_count_has_no_number():
    runs, samples = scored({"acc": mean, "rouge": nanmean}, {"acc": 1.0, "rouge": NAN}, {"acc": 1.0, "rouge": 0.5})
    assert (runs["rouge"].value, runs["rouge"].kind) == (0.5, "real")
    assert [sample["rouge"].value for sample in samples] == [None, 0.5]


def test_a_metric_that_a_document_lacks_has_no_number_there():
    runs, samples = scored({"acc": mean, "late": mean}, {"acc": 1.0}, {"acc": 1.0, "late": 0.25})
    assert runs["late"].value == 0.25
    assert [sample["late"].value for sample in samples] == [None, 0.25]


def test_an_aggregation_that_fails_costs_its_own_score_alone():
    runs, _ = scored({"acc": mean, "perplexity": perplexity}, *[{"acc": 1.0, "perplexity": -800.0}] * 2)
    assert (runs["acc"].value, runs["perplexity"].value) == (1.0, None)
    assert runs["perplexity"].value_reason == (
        "lm-eval's aggregation fails on these documents: OverflowError: math range error"
    )


def test_weights_of_documents_are_kept_by_what_they_count():
    documents = [{"word_perplexity": (-5.0, 4), "byte_perplexity": (-5.0, 20), "own": (-5.0, 3)}]
    _, (sample,) = scored(dict.fromkeys(documents[0], weighted_perplexity), *documents)
    assert {name: (one.num_bytes, one.num_words) for name, one in sample.items()} == {
        "word_perplexity": (20, 4),
        "byte_perplexity": (20, None),
        "own": (20, 3),
    }


class FakeGroup:
    """As much of lm-eval's group as is asked."""

    def __init__(self, name, *children, metrics=("acc",), by_size=True):
        self.name, self._children = name, children
        self.aggregate_metric_list = [SimpleNamespace(metric=m, weight_by_size=by_size) for m in metrics] or None

    def get_all_groups(self, recursive):
        assert not recursive
        return [child for child in self._children if isinstance(child, FakeGroup)]

    def get_all_tasks(self):
        inner = [[child] if isinstance(child, SimpleNamespace) else child.get_all_tasks() for child in self._children]
        return [task for tasks in inner for task in tasks]


def groups():
    task = {name: SimpleNamespace(task_name=name) for name in ("a", "b", "c")}
    stem = FakeGroup("stem", task["a"], task["b"])
    rest = FakeGroup("rest", task["c"], task["a"], metrics=())
    return {group.name: group for group in (FakeGroup("all", stem, rest, by_size=False), stem, rest)}


def test_groups_are_those_that_aggregate_with_what_is_inside_them_each_once():
    specs = results.group_specs(groups(), ["stem", "all", "rest", "b"])
    assert [spec.group for spec in specs] == ["stem", "all"]
    specs = results.group_specs(groups(), ["all"])
    assert [(spec.group, spec.tasks, spec.weight_by_size) for spec in specs] == [
        ("all", ("a", "b", "c"), False),
        ("stem", ("a", "b"), True),
    ]


@pytest.mark.parametrize("asked", [["all"], ["stem", "all"]])
def test_only_what_carries_a_verdict_is_planned(asked):
    tasks = {name: FakeTask({"acc": mean}) for name in ("a", "b", "c")}
    plan = planned(tasks, results.group_specs(groups(), asked), {"a": 10, "b": 20, "c": 30})
    assert plan == {"all": PlannedTask(60, "binary", "acc", {"a": 10, "b": 20, "c": 30})}


def test_a_task_without_its_groups_metric_is_planned_alone():
    tasks = {"a": FakeTask({"acc": mean}), "b": FakeTask({"acc": mean}), "c": FakeTask({"f1": nanmean})}
    plan = planned(tasks, results.group_specs(groups(), ["all"]), {"a": 10, "b": 20, "c": 30})
    assert plan == {
        "all": PlannedTask(30, "binary", "acc", {"a": 10, "b": 20}),
        "c": PlannedTask(30, "real", "f1", {"c": 30}),
    }


@pytest.mark.parametrize(
    ("aggregations", "kind"),
    [({"acc": mean}, "binary"), ({"f1": mean}, "real"), ({"perplexity": perplexity}, "loglikelihood"), ({}, "binary")],
)
def test_a_task_alone_is_planned_by_its_main_metric(aggregations, kind):
    metric = next(iter(aggregations), "acc")
    assert planned({"a": FakeTask(aggregations)}, (), {"a": 7}) == {"a": PlannedTask(7, kind, metric, {"a": 7})}
