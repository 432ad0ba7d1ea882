"""Labels as data sets declare them, those that are kept secret, and texts that are in one part alone."""

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from fakes.tiny_classifiers import make_rows, write_rows

from distill_eval.distill.classifier.labeled import read_labeled
from distill_eval.distill.classifier.parts import read_parts
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.label_config import LabelConfig
from distill_eval.errors import DataError, UsageError


def declared(path, labels):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes", "never"])})
    rows = {"text": [f"text {number}" for number in range(len(labels))], "label": labels}
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return read_labeled(DataConfig(data=str(path)), "label", name=str(path), part=None)


def test_declared_labels_keep_their_order_and_minus_one_is_none(tmp_path):
    found = declared(tmp_path / "some.parquet", [1, -1, 0, 1, -1])
    assert found.labels == ["yes", "no", "yes"]
    assert found.texts == ["text 0", "text 2", "text 3"]
    assert found.num_unlabeled == 2
    assert found.data_labels().names == ("no", "yes", "never")
    with pytest.raises(DataError, match=r"every value of its column 'label' is missing \(-1 or null\)"):
        declared(tmp_path / "secret.parquet", [-1, -1, -1])


def test_no_text_is_in_two_parts(tmp_path):
    rows = make_rows(90)
    write_rows(tmp_path / "texts.jsonl", [*rows, *rows[:30]])
    write_rows(tmp_path / "test.jsonl", [*rows[:10], *make_rows(20, seed=3)])
    data = DataConfig(data=str(tmp_path / "texts.jsonl"), validation_documents=15)
    labels = LabelConfig(label_column="label", test_data=str(tmp_path / "test.jsonl"))
    parts = read_parts(data, labels, 1234)
    train, validation, test = (set(part.texts) for part in parts[:3])
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert len(validation) == 15
    assert len(parts.train.texts) + parts.num_held_out == 120
    assert read_parts(data, labels, 1234).validation.texts == parts.validation.texts


def test_a_tenth_is_held_out_where_nothing_is_said(tmp_path):
    write_rows(tmp_path / "texts.jsonl", make_rows(200))
    parts = read_parts(DataConfig(data=str(tmp_path / "texts.jsonl")), LabelConfig(label_column="label"), 0)
    whole = set(parts.train.texts) | set(parts.validation.texts)
    assert len(set(parts.validation.texts)) == round(0.1 * len(whole))
    with pytest.raises(UsageError, match="cannot be held out"):
        config = DataConfig(data=str(tmp_path / "texts.jsonl"), validation_documents=200)
        read_parts(config, LabelConfig(label_column="label"), 0)
