"""One model's responses to a task whose requests are of two kinds, kept, resumed, and refused when not a number."""

from types import SimpleNamespace

import pytest

from distill_eval.errors import ModelError
from distill_eval.evaluate.answers import Answers
from distill_eval.evaluate.harness.tasks import Built
from distill_eval.schema.model import ModelFacts
from distill_eval.store import Store

FACTS = ModelFacts(
    ref="m",
    architecture="Fake",
    num_parameters=1,
    size_bytes=2,
    dtype="float32",
    vocab_size=3,
    weights_digest="w",
    tokenizer_digest="t",
    max_length=4,
)
KINDS = ["generate_until", "loglikelihood"] * 3


class FakeLM:
    """Answers with the document's number; stops where it is told to."""

    plain_reason = None

    def __init__(self, stop_at=None, bad=None):
        self.stop_at, self.bad, self.asked = stop_at, bad, []

    def _answer(self, instances, make):
        for place, instance in enumerate(instances):
            if place in self.recorder.done:
                continue
            if (instance.request_type, instance.doc_id) == self.stop_at:
                raise KeyboardInterrupt
            self.asked.append((instance.request_type, instance.doc_id))
            self.recorder.record({place: make(instance.doc_id)})
            self.recorder.on_progress(place + 1, len(instances))
        return [self.recorder.done[place] for place in range(len(instances))]

    def generate_until(self, instances):
        return self._answer(instances, lambda doc: f"text {doc}")

    def loglikelihood(self, instances):
        return self._answer(instances, lambda doc: (float("nan") if doc == self.bad else -float(doc), True))


class Heard:
    def __init__(self):
        self.fractions = []

    def start(self, work, num_models):
        raise AssertionError

    def say(self, text):
        raise AssertionError

    def update(self, model, task, fraction):
        self.fractions.append(fraction)


def collect(store, lm):
    model = SimpleNamespace(
        get=lambda: lm,
        facts=lambda: FACTS,
        folder=SimpleNamespace(ref="m"),
        options=SimpleNamespace(scorer="prefix"),
    )
    instances = [SimpleNamespace(request_type=kind, doc_id=number // 2) for number, kind in enumerate(KINDS)]
    heard = Heard()
    answers = Answers(model, {"squad": Built(instances, 3, 3, "digest", 9)}, store, heard)
    return answers.collect({"weights": "w"}, {"squad": "1"})["squad"].responses, heard.fractions


def collect_some(store, lm, documents, earlier):
    """Responses to some documents of a task, one kind of request."""
    model = SimpleNamespace(
        get=lambda: lm,
        facts=lambda: FACTS,
        folder=SimpleNamespace(ref="m"),
        options=SimpleNamespace(scorer="prefix"),
    )
    instances = [SimpleNamespace(request_type="loglikelihood", doc_id=number) for number in range(4)]
    heard = Heard()
    answers = Answers(model, {"sciq": Built(instances, 4, 4, "digest", 9)}, store, heard, {"sciq": documents}, earlier)
    return answers.collect({"weights": "w"}, {"sciq": "1"}), heard.fractions


EXPECTED = ["text 0", [-0.0, True], "text 1", [-1.0, True], "text 2", [-2.0, True]]


def test_both_kinds_come_back_in_the_order_of_the_requests(tmp_path):
    responses, fractions = collect(Store(tmp_path), FakeLM())
    assert responses == EXPECTED
    assert fractions == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])


def test_an_interrupted_task_goes_on_in_either_kind(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        collect(store, FakeLM(stop_at=("loglikelihood", 1)))
    lm = FakeLM()
    responses, fractions = collect(store, lm)
    assert responses == EXPECTED
    assert lm.asked == [("loglikelihood", 1), ("loglikelihood", 2)]
    assert fractions[0] == pytest.approx(4 / 6)
    again = FakeLM()
    assert collect(store, again)[0] == EXPECTED
    assert again.asked == []


def test_a_response_that_is_not_a_number_stops_the_run_and_names_the_document(tmp_path):
    with pytest.raises(ModelError, match=r"m gave \(nan, True\) for document 1 of squad"):
        collect(Store(tmp_path), FakeLM(bad=1))


def test_what_this_version_cannot_read_is_computed_again(tmp_path, caplog):
    store = Store(tmp_path)
    store.put("responses", {"weights": "w", "task": "squad", "prompts": "digest", "version": "1"}, b'{"old": 1}')
    assert collect(store, FakeLM())[0] == EXPECTED
    assert "computed again" in caplog.text


def test_more_documents_are_scored_and_no_document_twice(tmp_path):
    store, lm = Store(tmp_path), FakeLM()
    first, fractions = collect_some(store, lm, {1}, {})
    assert first["sciq"].responses == [None, [-1.0, True], None, None]
    assert fractions[-1] == pytest.approx(1 / 4)
    second, _ = collect_some(store, lm, {1, 3}, first)
    assert second["sciq"].responses == [None, [-1.0, True], None, [-3.0, True]]
    assert lm.asked == [("loglikelihood", 1), ("loglikelihood", 3)]
    same, _ = collect_some(store, FakeLM(stop_at=("loglikelihood", 1)), {1, 3}, second)
    assert same == second


def test_another_run_finds_what_some_documents_gave_and_finishes_the_task(tmp_path):
    store = Store(tmp_path)
    collect_some(store, FakeLM(), {1, 3}, {})
    lm = FakeLM()
    found, fractions = collect_some(store, lm, {0, 1, 2, 3}, {})
    assert lm.asked == [("loglikelihood", 0), ("loglikelihood", 2)]
    assert fractions[0] == pytest.approx(2 / 4)
    assert found["sciq"].responses == [[-0.0, True], [-1.0, True], [-2.0, True], [-3.0, True]]
    [entry] = store.entries()
    assert entry.finished
