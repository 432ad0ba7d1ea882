"""What of a loss is the engine's, and what the quantization's."""

from dataclasses import replace

import pytest
from unit.compare.build import Column, Task, evaluated

from distill_eval.compare.parity import split_loss, unknown_parity


def run(ref, values, **changes):
    model = evaluated(ref, {"t": Task([Column(values, **changes)])})
    return model._replace(run=replace(model.run, model=replace(model.run.model, engine="onnx")))


def test_the_parts_add_up_and_the_flips_are_counted():
    plain, moved, packed = [1, 1, 1, 0, 0, 1], [1, 1, 0, 1, 0, 1], [0, 0, 0, 1, 0, 1]
    (found,) = split_loss(run("u", plain), run("u", moved), run("s", packed))
    assert (found.student_ref, found.unquantized_ref, found.engine, found.num_docs) == ("s", "u", "onnx", 6)
    assert (found.num_engine_flips, found.num_quantization_flips) == (2, 2)
    assert found.engine_part.value == 0
    assert found.quantization_part.value == pytest.approx(-2 / 6)
    # Differences -1, -1, 0, 0, 0, 0: variance (2 - 6 / 9) / 5, over 6 documents.
    assert found.quantization_part.stderr == pytest.approx(((2 - 6 / 9) / 5 / 6) ** 0.5)


def test_only_documents_that_all_three_have_count():
    (found,) = split_loss(run("u", [1, 0]), run("u", [1, 1]), run("s", [0, 1, 0, 0]))
    assert found.num_docs == 2
    assert found.engine_part.value == 0.5
    assert found.quantization_part.value == -0.5


def test_a_score_that_is_no_mean_of_documents_has_no_parts():
    text = {"kind": "loglikelihood", "metric": "bits_per_byte", "num_bytes": [5, 5], "score": 1.0}
    (found,) = split_loss(*(run(ref, [-1.0, -2.0], **text) for ref in "uus"))
    assert (found.engine_part.value, found.num_engine_flips) == (None, None)
    assert found.reason == "bits_per_byte is no score per document"


def test_a_parity_that_is_unknown_says_why():
    found = unknown_parity(run("s", [1, 0]), "no export is at hand")
    assert (found.task, found.unquantized_ref, found.num_docs) == (None, None, 0)
    assert found.engine_part.reason == found.reason == "no export is at hand"


def test_runs_without_a_document_in_common_have_no_parts_and_no_flips():
    other = run("s", [0, 1])
    other = other._replace(samples={"t": [replace(sample, doc_hash="x") for sample in other.samples["t"]]})
    (found,) = split_loss(run("u", [1, 0]), run("u", [1, 1]), other)
    assert (found.num_engine_flips, found.num_quantization_flips, found.num_docs) == (None, None, 0)
    assert found.reason == found.engine_part.reason == "no document in common"
