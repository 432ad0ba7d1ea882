import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fakes.tiny_families import make_tokenizer
from fakes.tiny_teachers import TEXT

from distill_eval.calibration import TextSource, draw_documents, draw_pieces
from distill_eval.errors import UsageError


def load(source, kind="causal", **options):
    draw = draw_pieces if kind == "causal" else draw_documents
    return draw(TextSource(**{"source": str(source), "num_samples": 4, "length": 64, **options}), make_tokenizer())


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("\n\n".join(TEXT))
    return file


def byte_tokens(texts):
    tokenizer = make_tokenizer()
    return [tokenizer(text)["input_ids"] for text in texts]


def test_documents_are_strung_together_and_cut(text):
    samples = load(text)
    assert [len(ids) for ids in samples.ids] == [64] * 4
    documents = {tuple(tokens) for tokens in byte_tokens(TEXT)}
    pieces = [[]]
    for token in torch.cat(samples.ids).tolist():
        if token == 257:
            pieces.append([])
        else:
            pieces[-1].append(token)
    *whole, last = [tuple(piece) for piece in pieces]
    assert len(whole) == 3
    assert set(whole) <= documents
    assert any(document[: len(last)] == last for document in documents - set(whole))


def test_the_facts_say_what_was_drawn(text):
    samples = load(text, seed=3)
    facts = samples.facts
    assert (facts.source, facts.subset, facts.split, facts.text_column) == (str(text), None, "train", "text")
    assert (facts.seed, facts.num_samples, facts.max_length, facts.num_tokens) == (3, 4, 64, 256)
    assert facts.digest == hashlib.sha256(torch.cat(samples.ids).numpy().tobytes()).hexdigest()


def test_the_seed_draws_the_documents(text):
    first, again, other = (load(text, seed=seed).facts.digest for seed in (0, 0, 1))
    assert first == again != other


def test_a_classifiers_samples_are_single_documents(text):
    samples = load(text, "classifier", num_samples=60, length=50)
    assert sorted(tuple(ids.tolist()) for ids in samples.ids) == sorted(
        tuple(tokens[:50]) for tokens in byte_tokens(TEXT)
    )
    assert samples.facts.num_tokens == sum(len(ids) for ids in samples.ids)


@pytest.mark.parametrize("ending", ["jsonl", "json", "parquet", "csv"])
def test_files_of_every_kind_give_the_same(ending, text, tmp_path):
    file = tmp_path / f"data.{ending}"
    rows = [{"body": line, "year": index} for index, line in enumerate(TEXT)]
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif ending == "csv":
        file.write_text("body,year\n" + "".join(f'"{row["body"]}",{row["year"]}\n' for row in rows))
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = load(file, column="body")
    assert samples.facts.text_column == "body"
    documents = {tuple(tokens) for tokens in byte_tokens(TEXT)}
    stream = torch.cat(samples.ids).tolist()
    assert tuple(stream[: stream.index(257)]) in documents


def test_a_folder_is_a_data_set_with_splits(tmp_path):
    for split in ("train", "test"):
        lines = [json.dumps({"text": f"{split} {line}"}) for line in TEXT]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    tokens = load(tmp_path, split="test").ids[0].tolist()
    assert bytes(make_tokenizer().decode(tokens), "ascii").startswith(b"test In the year")
    assert make_tokenizer().decode(load(tmp_path).ids[0].tolist()).startswith("train In the year")


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", "", {}, ("has 0 tokens, and 4 samples of 64 need 256: name more text, or type "
         "--calibration-samples 1 --calibration-length 2")),
        ("a.txt", "x" * 199, {}, ("has 200 tokens, and 4 samples of 64 need 256: name more text, or type "
         "--calibration-samples 3")),
        ("a.txt", "abc", {}, ("has 4 tokens, and 4 samples of 64 need 256: name more text, or type "
         "--calibration-samples 1 --calibration-length 4")),
        ("a.jsonl", '{"body": "x", "id": 1}\n', {}, "has no column 'text': name one of body, id with --text-column"),
        ("a.jsonl", '{"text": ["x"]}\n', {}, "column 'text' holds list, expected plain text"),
        ("a.md", "x", {}, "expected a file that ends with one of .txt, .jsonl, .json, .parquet, .csv"),
        ("a.parquet", "not parquet", {}, "cannot be read: "),
    ],
)  # fmt: skip
def test_bad_text_is_refused(name, content, options, message, tmp_path):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(UsageError) as error:
        load(file, **options)
    assert str(error.value).startswith(f"--calibration {file}")
    assert message in str(error.value)


def test_what_another_option_asks_for_is_left_out_of_the_advice(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("x" * 199)
    with pytest.raises(UsageError, match=r"or type --calibration-samples 1$"):
        load(file, num_extra=2)
    assert len(load(file, num_samples=3, num_extra=2).ids) == 3
    with pytest.raises(UsageError, match=r"or type --calibration-samples 1 --calibration-length 40$"):
        load(file, num_extra=4)
    assert len(load(file, num_samples=5, length=40, num_extra=4).ids) == 5


def test_too_few_texts_for_a_classifier(text):
    with pytest.raises(UsageError, match="has 60 texts, fewer than --calibration-samples 61: lower it"):
        load(text, "classifier", num_samples=61)


@pytest.mark.parametrize("source", ["missing.txt", "./nowhere", "/nowhere/data"])
def test_what_is_not_there_is_named(source):
    with pytest.raises(UsageError) as error:
        load(source)
    assert str(error.value) == f"--calibration {source}: no such file or folder"


def test_a_split_that_is_not_there_is_named(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(UsageError) as error:
        load(tmp_path, split="dev")
    assert str(error.value).startswith(f"--calibration {tmp_path} cannot be read: ")
    assert "dev" in str(error.value)
