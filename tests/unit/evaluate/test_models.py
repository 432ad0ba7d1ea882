"""A model folder as `evaluate` takes it: the weights that transformers would load, all of them there, and no others."""

import json

import pytest

from distill_eval.checkpoint import file_digest
from distill_eval.errors import ModelError
from distill_eval.evaluate.models import locate
from distill_eval.schema.model import ModelRef

INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}


def folder(place, files):
    place.mkdir()
    for name, content in ({"config.json": "{}", "tokenizer.json": "{}"} | files).items():
        (place / name).write_text(content)
    return ModelRef(name=str(place))


def refused(ref):
    with pytest.raises(ModelError) as raised:
        locate(ref, file_digest)
    return str(raised.value)


def test_weights_in_other_forms_are_no_part_of_a_model(tmp_path):
    plain = locate(folder(tmp_path / "plain", {"model.safetensors": "x"}), file_digest)
    beside = {"model.safetensors": "x", "consolidated.safetensors": "y", "adapter_model.safetensors": "z"}
    assert locate(folder(tmp_path / "beside", beside), file_digest).weights_digest == plain.weights_digest
    other = locate(folder(tmp_path / "other", {"model.safetensors": "y"}), file_digest)
    assert other.weights_digest != plain.weights_digest
    assert other.tokenizer_digest == plain.tokenizer_digest


def test_every_shard_counts_and_none_may_be_missing(tmp_path):
    whole = {"model.safetensors.index.json": json.dumps(INDEX), "model-1.safetensors": "x", "model-2.safetensors": "y"}
    first = locate(folder(tmp_path / "whole", whole), file_digest)
    changed = locate(folder(tmp_path / "changed", whole | {"model-2.safetensors": "z"}), file_digest)
    assert first.weights_digest != changed.weights_digest
    (tmp_path / "whole" / "model-2.safetensors").unlink()
    assert "names model-2.safetensors, which is missing" in refused(first.ref)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("consolidated.safetensors", "no weights in"),
        ("pytorch_model.bin", "pickle weights only (pytorch_model.bin)"),
    ],
)
def test_what_transformers_would_not_load_is_refused(tmp_path, file, said):
    assert said in refused(folder(tmp_path / "model", {file: "x"}))
