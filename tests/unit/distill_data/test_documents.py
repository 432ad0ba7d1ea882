import json
import random

import datasets
import pandas as pd
import pytest

from distill_eval.distill import documents as documents_
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.documents import open_documents, split, training_batches, validation_batches
from distill_eval.errors import DataError, UsageError

TEXTS = [f"document {number}" for number in range(40)]
CONVERSATION = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]


@pytest.fixture(autouse=True)
def private_data_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-datasets")


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def texts(path, values=TEXTS):
    return jsonl(path, [{"text": value} for value in values])


def read(data, **options):
    opened = open_documents(DataConfig(data=str(data), validation_fraction=None, **options))
    return [document for batch in opened.batches() for document in batch]


def parts(data, seed=0, **options):
    config = DataConfig(data=data, **options)
    found = split(open_documents(config), config, seed)
    train = [document for batch, _ in training_batches(found) for document in batch]
    return train, [document for batch in validation_batches(found) for document in batch]


# ---- reading


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "csv"])
def test_a_file_of_each_kind(suffix, tmp_path):
    path = tmp_path / f"data.{suffix}"
    frame = pd.DataFrame({"id": range(40), "text": TEXTS})
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=suffix == "jsonl")
    assert read(path) == TEXTS
    assert read(path, max_documents=3) == TEXTS[:3]


def test_a_text_file_is_one_document_and_a_folder_holds_many(tmp_path):
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "b.txt").write_text("second\n\nwith two paragraphs\n", encoding="utf-8")
    (tmp_path / "texts" / "a.txt").write_text("first", encoding="utf-8")
    (tmp_path / "texts" / "deep" / "c.txt").write_text("third", encoding="utf-8")
    (tmp_path / "texts" / "README").write_text("no data", encoding="utf-8")
    assert read(tmp_path / "texts") == ["first", "second\n\nwith two paragraphs\n", "third"]
    assert read(tmp_path / "texts" / "b.txt") == ["second\n\nwith two paragraphs\n"]


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    texts(tmp_path / "2.jsonl", ["c"])
    texts(tmp_path / "1.jsonl", ["a", "b"])
    assert read(tmp_path) == ["a", "b", "c"]


def test_streaming_reads_the_same(tmp_path):
    data = texts(tmp_path / "data.jsonl")
    assert read(data, streaming=True, validation_documents=1, max_documents=7) == TEXTS[:7]


def test_many_documents_come_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(documents_, "BATCH", 16)
    assert read(texts(tmp_path / "data.jsonl")) == TEXTS


def test_empty_documents_do_not_count(tmp_path):
    assert read(texts(tmp_path / "data.jsonl", ["a", "", " \n", None, "b"])) == ["a", "b"]


def test_conversations_are_found_by_their_usual_name(tmp_path):
    data = jsonl(tmp_path / "data.jsonl", [{"id": 1, "messages": CONVERSATION}])
    assert read(data) == [CONVERSATION]
    assert read(data, text_column="messages") == [CONVERSATION]


def test_fields_that_a_message_lacks_stay_away(tmp_path):
    first = [{"role": "user", "content": "x", "name": "Ann"}, CONVERSATION[1]]
    data = jsonl(tmp_path / "data.jsonl", [{"messages": first}, {"messages": CONVERSATION}])
    assert read(data) == [first, CONVERSATION]


# ---- holding out


def test_held_out_documents_are_not_trained_on(tmp_path):
    train, validation = parts(texts(tmp_path / "data.jsonl"), validation_fraction=0.25)
    assert len(validation) == 10
    assert sorted(train + validation) == sorted(TEXTS)


def test_a_hundredth_is_held_out_and_at_least_one(tmp_path):
    assert [len(part) for part in parts(texts(tmp_path / "data.jsonl"))] == [39, 1]
    many = texts(tmp_path / "many.jsonl", [f"text {number}" for number in range(500)])
    assert [len(part) for part in parts(many)] == [495, 5]


def test_the_choice_depends_on_the_seed_and_not_on_the_order(tmp_path):
    shuffled = TEXTS.copy()
    random.Random(1).shuffle(shuffled)
    data, other = texts(tmp_path / "data.jsonl"), texts(tmp_path / "other.jsonl", shuffled)
    first = parts(data, validation_documents=8)
    assert parts(data, validation_documents=8) == first
    assert sorted(parts(other, validation_documents=8)[1]) == sorted(first[1])
    assert sorted(parts(data, seed=1, validation_documents=8)[1]) != sorted(first[1])


def test_equal_documents_fall_on_the_same_side(tmp_path):
    train, validation = parts(texts(tmp_path / "data.jsonl", TEXTS + TEXTS), validation_documents=8)
    assert len(validation) == 16
    assert not set(train) & set(validation)


def test_own_validation_data_is_read_whole_and_kept_out_of_training(tmp_path):
    own = texts(tmp_path / "own.jsonl", ["new", TEXTS[3], "new too"])
    train, validation = parts(texts(tmp_path / "data.jsonl"), validation_data=own)
    assert validation == ["new", TEXTS[3], "new too"]
    assert train == TEXTS[:3] + TEXTS[4:]
    _, fewer = parts(texts(tmp_path / "data.jsonl"), validation_data=own, validation_documents=1)
    assert fewer == ["new"]


def test_a_stream_holds_its_first_documents_out(tmp_path):
    data = texts(tmp_path / "data.jsonl", [*TEXTS, TEXTS[0]])
    train, validation = parts(data, streaming=True, validation_documents=2)
    assert validation == TEXTS[:2]
    assert train == TEXTS[2:]


def test_the_number_kept_out_is_counted(tmp_path):
    config = DataConfig(data=texts(tmp_path / "data.jsonl"), validation_documents=8)
    found = split(open_documents(config), config, 0)
    assert sum(count for _, count in training_batches(found)) == 8


# ---- bad input


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"body": "x", "id": 1}], "no column 'text'.* Its columns: body, id. Choose with --text-column"),
        ([{"texts": "x"}], "no column 'text'. Did you mean 'texts'"),
    ],
)
def test_a_missing_column_lists_those_that_are_there(rows, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        open_documents(DataConfig(data=jsonl(tmp_path / "data.jsonl", rows)))


@pytest.mark.parametrize("value", [3, ["a", "b"], {"a": 1}])
def test_a_column_of_something_else_is_refused(value, tmp_path):
    with pytest.raises(DataError, match=r"column 'text' holds a .*expected text, or a conversation"):
        read(jsonl(tmp_path / "data.jsonl", [{"text": value}]))


def test_an_empty_data_set_is_refused(tmp_path):
    (tmp_path / "data.jsonl").write_text("")
    (tmp_path / "data.csv").write_text("id,text\n")
    pd.DataFrame({"text": pd.Series([], dtype=str)}).to_parquet(tmp_path / "data.parquet")
    for suffix, kind in {"jsonl": "json", "csv": "csv", "parquet": "parquet"}.items():
        with pytest.raises(DataError, match=rf"data\.{suffix} as {kind}: it is empty, it has no documents"):
            open_documents(DataConfig(data=str(tmp_path / f"data.{suffix}")))


def test_a_data_set_without_text_is_refused(tmp_path):
    opened = open_documents(DataConfig(data=texts(tmp_path / "data.jsonl", ["", "  "])))
    with pytest.raises(DataError, match="has no text: every value of its column 'text' is empty"):
        opened.first()


def test_too_few_documents_to_hold_out(tmp_path):
    config = DataConfig(data=texts(tmp_path / "data.jsonl", ["only one"]))
    with pytest.raises(UsageError, match="has 1 different documents with text; 1 of them cannot be held out"):
        split(open_documents(config), config, 0)


def test_an_empty_own_validation_is_refused(tmp_path):
    own = texts(tmp_path / "own.jsonl", ["", " "])
    with pytest.raises(DataError, match=r"own\.jsonl has no text"):
        parts(texts(tmp_path / "data.jsonl"), validation_data=own)


def test_paths_that_do_not_exist(tmp_path):
    for name in (str(tmp_path / "no"), "data.jsonl", "a/b/c", "./x"):
        with pytest.raises(UsageError, match="no such file or folder"):
            open_documents(DataConfig(data=name))


def test_a_local_file_has_no_splits(tmp_path):
    data = texts(tmp_path / "data.jsonl")
    for options in ({"data_split": "train"}, {"data_config": "small"}):
        with pytest.raises(UsageError, match="is a local file: it has no configurations or splits"):
            open_documents(DataConfig(data=data, **options))
    with pytest.raises(UsageError, match="--validation-data names another file"):
        parts(data, validation_split="test")


def test_folders_that_are_not_one_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    texts(tmp_path / "mixed" / "a.jsonl")
    (tmp_path / "mixed" / "b.txt").write_text("x")
    (tmp_path / "notes.md").write_text("x")
    for name, message in {
        "empty": "has no data files: expected some that end in .jsonl",
        "mixed": r"holds files of several kinds \(json, text\)",
        "notes.md": "notes.md: expected a file that ends in .jsonl",
    }.items():
        with pytest.raises(UsageError, match=message):
            open_documents(DataConfig(data=str(tmp_path / name)))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "data.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(
        DataError, match=r"cannot read .*data\.jsonl as json: JSON parse error: Invalid value. in row 1"
    ):
        open_documents(DataConfig(data=str(tmp_path / "data.jsonl")))
    (tmp_path / "data.parquet").write_bytes(b"PAR1 this is not parquet")
    with pytest.raises(DataError, match=r"cannot read .*data\.parquet as parquet"):
        open_documents(DataConfig(data=str(tmp_path / "data.parquet")))


@pytest.mark.parametrize(
    ("raised", "error", "message"),
    [
        (
            ValueError('Unknown split "x".\nShould be one of [train].'),
            UsageError,
            r"'org/name': Unknown split \"x\"\. Sho",
        ),
        (
            datasets.exceptions.DatasetNotFoundError("gone"),
            DataError,
            "neither a file, a folder nor a data set on the Hub",
        ),
        (ConnectionError("no route"), DataError, "cannot load the data set 'org/name' from the Hub: ConnectionError"),
    ],
)
def test_what_the_hub_refuses_is_said(raised, error, message, monkeypatch):
    def load_dataset(*args, **kwargs):
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(error, match=message):
        open_documents(DataConfig(data="org/name"))
