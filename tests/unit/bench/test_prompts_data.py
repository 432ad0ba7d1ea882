import json

import pytest
from fakes.tiny_families import make_tokenizer

from distill_eval.bench.prompt_config import PromptConfig
from distill_eval.bench.prompts import draw
from distill_eval.bench.prompts.datasets import first_message
from distill_eval.errors import UsageError

TOKENIZER = make_tokenizer(add_bos=True)
LINES = ["From fairest creatures", "we desire increase,", "", "That thereby beauty's", "rose might never die"]


def asked(name, path, num=2, seed=0, say=print, **options):
    config = PromptConfig(dataset_name=name, dataset_path=str(path), **options)
    return draw(config, TOKENIZER, num, seed, say=say)


def refusal(*arguments, **options):
    with pytest.raises(UsageError) as error:
        asked(*arguments, **options)
    return str(error.value)


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def conversation(*values):
    speakers = ("human", "gpt")
    return {"conversations": [{"from": speakers[at % 2], "value": value} for at, value in enumerate(values)]}


@pytest.fixture
def sharegpt(tmp_path):
    """Three conversations to take, and five that vLLM leaves out."""
    entries = [
        conversation(letter * 10, letter * length, "more") for letter, length in (("a", 20), ("b", 30), ("c", 4))
    ]
    entries += [conversation("hi", "there, there"), conversation("x" * 1024, "answer"), conversation("alone")]
    entries += [conversation("y" * 1000, "z" * 1100), conversation("good question", "no")]
    return write(tmp_path / "sharegpt.json", entries)


def test_sharegpt_asks_first_messages_for_answers_of_the_length_that_they_had(sharegpt):
    prompts = asked("sharegpt", sharegpt, num=3)
    found = {prompt.text: (prompt.num_tokens, prompt.max_tokens) for prompt in prompts}
    assert found == {"a" * 10: (11, 21), "b" * 10: (11, 31), "c" * 10: (11, 5)}
    orders = {tuple(prompt.text[0] for prompt in asked("sharegpt", sharegpt, num=3, seed=seed)) for seed in range(20)}
    assert len(orders) == 6


def test_sharegpt_with_a_length_takes_answers_of_any(sharegpt):
    prompts = asked("sharegpt", sharegpt, num=5, output_len=7)
    assert {prompt.text for prompt in prompts} == {"a" * 10, "b" * 10, "c" * 10, "good question", "y" * 1000}
    assert {prompt.max_tokens for prompt in prompts} == {7}


def test_sharegpt_says_how_many_it_has(sharegpt):
    said = refusal("sharegpt", sharegpt, num=4)
    assert said == (
        f"--dataset-path {sharegpt} has 3 prompts of 4 to 1,024 tokens, with the answer at most 2,048, and 4 are to be "
        "sent: type --num-prompts 3, or name more data"
    )


@pytest.mark.parametrize("content", [{"conversations": []}, [{"text": "x"}], [conversation("alone")], []])
def test_a_file_of_another_form_is_refused(tmp_path, content):
    path = write(tmp_path / "other.json", content)
    assert refusal("sharegpt", path).startswith(f"--dataset-path {path} has no prompts: expected ShareGPT's form")


def test_files_that_are_not_there_or_not_readable_are_refused(tmp_path):
    assert refusal("sonnet", tmp_path / "none.txt").startswith(f"--dataset-path {tmp_path / 'none.txt'}: no such file")
    assert "no such file" in refusal("sharegpt", "none.json")
    broken = write(tmp_path / "broken.json", "[{")
    assert refusal("sharegpt", broken).startswith(f"--dataset-path {broken} cannot be read as JSON: JSONDecodeError")


def test_sonnets_begin_alike_and_end_before_the_length(tmp_path):
    path = write(tmp_path / "sonnet.txt", "\n".join(LINES))
    head = 1 + len("Pick as many lines as you can from these poem lines:\n")
    prefix = head + len("From fairest creatures\nwe desire increase,") + 3  # no room for the third line
    prompts = asked("sonnet", path, num=8, sonnet_input_len=250, sonnet_prefix_len=prefix, output_len=4)
    for prompt in prompts:
        lines = prompt.text.splitlines()
        assert lines[1:3] == ["From fairest creatures", "we desire increase,"]
        assert set(lines[1:]) <= set(LINES)
        assert prompt.num_tokens == 1 + len(prompt.text.encode())
        assert 250 - 1 - len("From fairest creatures") <= prompt.num_tokens <= 250
    assert len({prompt.text for prompt in prompts}) == 8


def test_sonnets_without_lines_or_room_are_refused(tmp_path):
    path = write(tmp_path / "sonnet.txt", "\n".join(LINES))
    assert refusal("sonnet", path, sonnet_input_len=60).startswith("--sonnet-input-len 60: no line has room; one takes")
    assert refusal("sonnet", path, sonnet_input_len=60, sonnet_prefix_len=61) == (
        "--sonnet-prefix-len 61: expected at most --sonnet-input-len 60"
    )
    empty = write(tmp_path / "empty.txt", "\n \n")
    assert refusal("sonnet", empty) == f"--dataset-path {empty} has no lines of text"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("text", "text"),
        (["first", "second"], "first"),
        ([{"role": "system", "content": "be"}, {"role": "user", "content": "do"}], "do"),
        ([{"from": "human", "value": "do"}], "do"),
        ([{"role": "assistant", "content": "done"}], None),
        ([{"role": "user", "content": [{"type": "image"}]}], None),
        (3, None),
        ([], None),
    ],
)
def test_what_a_value_asks(value, found):
    assert first_message(value) == found


def test_a_data_set_gives_its_texts_or_first_messages(tmp_path):
    rows = [{"id": at, "messages": [{"role": "user", "content": f"question {at}"}]} for at in range(5)]
    path = write(tmp_path / "chat.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    prompts = asked("hf", path, num=5, output_len=9)
    assert sorted(prompt.text for prompt in prompts) == [f"question {at}" for at in range(5)]
    assert {(prompt.num_tokens, prompt.max_tokens) for prompt in prompts} == {(11, 9)}
    assert asked("hf", path, num=5, seed=1) != prompts
    table = write(tmp_path / "table.csv", "ask,id\nwhy?,1\nhow?,2\n ,3\n")
    assert {prompt.text for prompt in asked("hf", table, text_column="ask")} == {"why?", "how?"}
    assert refusal("hf", table, num=3, text_column="ask") == (
        f"--dataset-path {table} has 2 prompts, and 3 are to be sent: type --num-prompts 2, or name more data"
    )


def test_a_data_set_without_such_a_column_is_refused(tmp_path):
    table = write(tmp_path / "table.csv", "ask,id\nwhy?,1\n")
    assert refusal("hf", table) == (
        f"--dataset-path {table} has none of the columns text, prompt, messages, conversations, turns: name one of "
        "ask, id with --text-column"
    )
    assert refusal("hf", table, text_column="question") == (
        f"--dataset-path {table} has no column 'question': name one of ask, id with --text-column"
    )
    assert "column 'id' holds int, expected texts, or conversations" in refusal("hf", table, text_column="id")


MOONCAKE = [
    {"timestamp": 3000, "input_length": 12, "output_length": 5, "hash_ids": [0]},
    {"timestamp": 2500, "input_length": 20, "output_length": 6, "hash_ids": [1]},
    {"timestamp": 4250, "input_length": 8, "output_length": 7, "hash_ids": [2]},
]
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,12,5
2023-11-16 18:15:47.9302600,20,6
"""


def facts(prompts):
    return [(prompt.num_tokens, prompt.max_tokens, pytest.approx(prompt.offset_s, abs=1e-6)) for prompt in prompts]


def test_mooncakes_trace_is_replayed_in_the_order_of_its_times(tmp_path):
    path = write(tmp_path / "trace.jsonl", "".join(json.dumps(row) + "\n" for row in MOONCAKE))
    heard = []
    prompts = asked("trace", path, num=3, say=heard.append)
    assert facts(prompts) == [(20, 6, 0.0), (12, 5, 0.5), (8, 7, 1.75)]
    assert heard == [
        "the trace's hash_ids are not replayed: its prompts share no beginnings here",
        "the trace's 3 requests come within 1.8 s",
    ]
    assert facts(asked("trace", path, num=1)) == [(12, 5, 0.0)]


def test_azures_trace_is_replayed(tmp_path):
    path = write(tmp_path / "azure.csv", AZURE)
    assert facts(asked("trace", path)) == [(12, 5, 0.0), (20, 6, 1.24967)]
    assert [prompt.max_tokens for prompt in asked("trace", path, output_len=2)] == [2, 2]


def test_a_trace_may_have_prompts_of_its_own(tmp_path):
    rows = [{"offset_s": 10.5, "prompt": "why?"}, {"offset_s": 11, "prompt": "how?", "output_length": 3}]
    path = write(tmp_path / "trace.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    prompts = asked("trace", path)
    assert [(prompt.text, prompt.num_tokens, prompt.max_tokens, prompt.offset_s) for prompt in prompts] == [
        ("why?", 5, 64, 0.0),
        ("how?", 5, 3, 0.5),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"input_length": 3}', "has no time: expected one of offset_s, timestamp, TIMESTAMP; it has input_length"),
        ('{"offset_s": 1}', "has neither a prompt nor a length: expected one of input_length, ContextTokens"),
        ('{"offset_s": 1, "input_length": 0}', ": input_length is 0, expected 1 or more tokens"),
        ('{"offset_s": 1, "prompt": "x", "output_length": "many"}', ": output_length is 'many', expected 1 or more"),
        ('{"offset_s": "soon", "prompt": "x"}', ": offset_s is 'soon': expected a number, or a date like"),
        ('{"offset_s": 1e999, "prompt": "x"}', ": offset_s is inf, expected a finite number"),
        ('{"offset_s": 1, "prompt": 3}', ": prompt is no text"),
        ("[1, 2]", ": expected a JSON object, found '[1, 2]'"),
        ("offset_s,prompt", ": expected a JSON object, found 'offset_s,prompt'"),
    ],
)
def test_a_line_of_a_trace_that_is_none_is_named(tmp_path, line, said):
    path = write(tmp_path / "trace.jsonl", '{"offset_s": 1, "prompt": "x"}\n' + line + "\n")
    found = refusal("trace", path).removeprefix(f"--dataset-path {path}, line 2").removeprefix(" ")
    assert found.startswith(said)


def test_a_trace_that_is_too_short_says_so(tmp_path):
    path = write(tmp_path / "trace.jsonl", '{"offset_s": 1, "prompt": "x"}\n')
    assert refusal("trace", path) == (
        f"--dataset-path {path} has 1 requests, and 2 are to be sent: type --num-prompts 1, or name more data"
    )
