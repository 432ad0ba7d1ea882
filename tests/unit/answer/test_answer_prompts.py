"""Prompts from data sets of every kind, and the options that are refused."""

import json
from pathlib import Path

import pytest

from distill_eval.distill.answer.config import AnswerConfig
from distill_eval.distill.answer.dataset import lines
from distill_eval.distill.answer.prompts import read_prompts
from distill_eval.errors import DataError, UsageError
from distill_eval.schema.answers import Answer


@pytest.fixture(autouse=True)
def private_data_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-datasets")


def config(data, **options):
    return AnswerConfig(teacher="org/t", data=str(data), output_dir=Path("out"), **options)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turn(role, content):
    return {"role": role, "content": content}


def test_texts_become_user_turns_behind_the_system_prompt(tmp_path):
    data = jsonl(tmp_path / "p.jsonl", [{"text": "one"}, {"text": " "}, {"text": "two"}, {"text": "three"}])
    found = read_prompts(config(data, system="Be brief.", max_prompts=3), "chat")
    # the empty row is no prompt
    assert found.prompts == [[turn("system", "Be brief."), turn("user", text)] for text in ("one", "two", "three")]
    assert read_prompts(config(data), "text").prompts == ["one", "two", "three"]


def test_the_last_answer_is_dropped_and_what_ends_with_nothing_to_answer_is_counted(tmp_path):
    rows = [
        [turn("user", "a"), turn("assistant", "old")],
        [turn("user", "a"), turn("assistant", "b"), turn("user", "c")],
        [turn("system", "own"), turn("user", "a")],
        [turn("assistant", "hello")],
        [turn("system", "own"), turn("assistant", "hello")],
    ]
    data = jsonl(tmp_path / "p.jsonl", [{"messages": row} for row in rows])
    found = read_prompts(config(data, system="new"), "chat")
    new = turn("system", "new")
    assert found.prompts == [[new, rows[0][0]], [new, *rows[1]], rows[2]]
    assert found.num_skipped == 2
    assert found.digest != read_prompts(config(data), "chat").digest
    with pytest.raises(UsageError, match="holds conversations, and the teacher has no chat template"):
        read_prompts(config(data), "text")
    with pytest.raises(DataError, match="each of its 2 conversations ends with nothing to answer"):
        read_prompts(config(jsonl(tmp_path / "q.jsonl", [{"messages": row} for row in rows[3:]])), "chat")


def test_instructions_with_inputs(tmp_path):
    rows = [
        {"instruction": "Sum.", "input": "1 2"},
        {"instruction": "Rhyme.", "input": ""},
        {"instruction": "", "input": "x"},
    ]
    data = jsonl(tmp_path / "p.jsonl", rows)
    found = read_prompts(config(data, text_column="instruction", input_column="input"), "text")
    assert found.prompts == ["Sum.\n\n1 2", "Rhyme."]
    with pytest.raises(UsageError, match=r"has no column 'inputs'\. Did you mean 'input'"):
        read_prompts(config(data, text_column="instruction", input_column="inputs"), "text")


def test_a_text_file_has_a_prompt_per_line_and_a_csv_one_per_row(tmp_path):
    (tmp_path / "p.txt").write_text("one\n\ntwo\n")
    (tmp_path / "p.csv").write_text("q,n\none,1\ntwo,2\n")
    assert read_prompts(config(tmp_path / "p.txt"), "text").prompts == ["one", "two"]
    assert read_prompts(config(tmp_path / "p.csv", text_column="q"), "text").prompts == ["one", "two"]


def test_the_data_set_holds_what_may_be_learnt_in_the_order_of_the_prompts():
    def said(text, reason="stop"):
        return Answer(text=text, finish_reason=reason, num_prompt_tokens=3, num_answer_tokens=2)

    answers = {3: said("d"), 0: said("a"), 1: said("b", "length"), 2: said(" "), 4: Answer(error="no"), 5: said("f")}
    prompts = ["p: ", [turn("user", "q")], "r: "]
    rows = [json.loads(line) for line in lines(prompts, 2, answers, keep_cut_off=False).splitlines()]
    counts = {"finish_reason": "stop", "num_prompt_tokens": 3, "num_answer_tokens": 2}
    assert rows == [
        {"prompt": "p: ", "completion": "a", "text": "p: a", "prompt_number": 0, "answer_number": 0} | counts,
        {"messages": [turn("user", "q"), turn("assistant", "d")], "prompt_number": 1, "answer_number": 1} | counts,
        {"prompt": "r: ", "completion": "f", "text": "r: f", "prompt_number": 2, "answer_number": 1} | counts,
    ]
    assert '"completion": "b"' in lines(prompts, 2, answers, keep_cut_off=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_answers": 2}, "--num-answers 2: at --temperature 0 they would all be the same"),
        ({"top_p": 0.5}, "--top-p 0.5: at --temperature 0 nothing is sampled"),
        ({"top_p": 0.0, "temperature": 1.0}, "--top-p 0: expected a share above 0"),
        ({"temperature": -1.0}, "--temperature -1: expected 0 or a number above it"),
        ({"max_new_tokens": 0}, "--max-new-tokens 0: expected 1 or more"),
        ({"system": "x", "form": "text"}, "--system: it is part of a chat"),
        ({"endpoint": "127.0.0.1:8000"}, "--endpoint 127.0.0.1:8000: expected an address such as"),
        ({"endpoint": "http://me:pw@host/v1"}, "holds a user name or a query: put the key into the variable"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(UsageError, match=message) as raised:
        config("d", **options)
    assert "pw" not in str(raised.value)
