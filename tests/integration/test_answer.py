"""`answer` on tiny teachers and a fake server: what they say, what a killed run does, and a student that learns it."""

import json

import pytest
import torch
from fakes.openai_server import serve
from fakes.tiny_families import make_model, make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_eval import cli
from distill_eval.distill import run as training
from distill_eval.distill.answer import stage
from distill_eval.distill.answer.config import AnswerConfig
from distill_eval.distill.config import DistillConfig, LossConfig, TrainingConfig
from distill_eval.distill.data_config import DataConfig
from distill_eval.errors import ArtifactError, ModelError, UsageError
from distill_eval.record import from_json
from distill_eval.schema.answers import AnswersRun

CHATML = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = ["bone", "heart", "liver", "first", "second", "who", "where", "answer"]
PROMPTS = [" ".join(WORDS[: 1 + number % 7]) + f" {number}" for number in range(14)]


def save(folder, *, template, seed=0):
    """A teacher that ends some answers, and not all."""
    model = make_model("llama", seed=seed)
    with torch.no_grad():
        model.lm_head.weight[257] *= 2.0
    model.generation_config.eos_token_id = 257
    model.save_pretrained(folder)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("answer")
    save(root / "chat", template=CHATML)
    save(root / "base", template=None)
    (root / "prompts.jsonl").write_text("".join(json.dumps({"text": prompt}) + "\n" for prompt in PROMPTS))
    return root


@pytest.fixture(autouse=True)
def private_data_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-datasets")


def answer(place, output, teacher="chat", said=None, **options):
    options = {"max_new_tokens": 12, "batch_size": 4, "device": "cpu", "data": str(place / "prompts.jsonl")} | options
    name = teacher if "endpoint" in options else str(place / teacher)
    config = AnswerConfig(teacher=name, output_dir=output, **options)
    return stage.run(config, argv=["answer"], say=(said if said is not None else []).append)


def rows(folder):
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def greedy(folder, text):
    """The most likely tokens, one full forward pass for each; and whether the teacher ended them."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text)["input_ids"]
    said = []
    while len(said) < 12:
        with torch.inference_mode():
            said.append(int(model(torch.tensor([ids + said])).logits[0, -1].argmax()))
        if said[-1] == 257:
            return tokenizer.decode(said[:-1]), "stop", len(said)
    return tokenizer.decode(said), "length", 12


def test_batched_answers_are_those_that_each_prompt_gets_alone(place, tmp_path):
    done = answer(place, tmp_path / "chat", keep_cut_off=True)
    expected = [greedy(place / "chat", f"<|user|>{prompt}\n<|assistant|>") for prompt in PROMPTS]
    found = rows(tmp_path / "chat")
    assert [row["messages"][0] for row in found] == [{"role": "user", "content": prompt} for prompt in PROMPTS]
    assert [
        (row["messages"][1]["content"], row["finish_reason"], row["num_answer_tokens"]) for row in found
    ] == expected
    num_stopped = sum(reason == "stop" for _, reason, _ in expected)
    assert 0 < num_stopped < len(PROMPTS)
    assert (done.num_completed, done.num_cut_off, done.num_empty, done.num_errored) == (
        num_stopped,
        14 - num_stopped,
        0,
        0,
    )
    assert done.num_answer_tokens == sum(size for _, _, size in expected)
    assert from_json(AnswersRun, (tmp_path / "chat" / "answers.json").read_bytes(), source="answers.json") == done
    left_out = answer(place, tmp_path / "chat")  # the same answers, and nobody is asked again
    assert left_out.num_rows == num_stopped
    assert rows(tmp_path / "chat") == [row for row in found if row["finish_reason"] == "stop"]


def test_a_base_model_goes_on_where_the_prompt_ends(place, tmp_path):
    answer(place, tmp_path / "base", "base", keep_cut_off=True)
    expected = {prompt: greedy(place / "base", prompt)[0] for prompt in PROMPTS}
    assert [(row["prompt"], row["completion"], row["text"]) for row in rows(tmp_path / "base")] == [
        (prompt, said, prompt + said) for prompt, said in expected.items() if said
    ]
    with pytest.raises(UsageError, match="has no chat template, which --form chat and --system need"):
        answer(place, tmp_path / "x", "base", system="Be brief.")


SAMPLED = {"temperature": 1.0, "top_p": 0.9, "num_answers": 2, "keep_cut_off": True}


def test_a_run_that_was_killed_anywhere_ends_with_the_same_answers(place, tmp_path):
    whole = answer(place, tmp_path / "whole", **SAMPLED)
    expected = (tmp_path / "whole" / "answers.jsonl").read_bytes()
    journal = (tmp_path / "whole" / "journal").read_bytes()
    head = journal.index(b"\n") + 1
    cuts = [head // 2, head + 1, len(journal) // 2, len(journal) - 1]
    for number, size in enumerate(cuts):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "journal").write_bytes(journal[:size])
        (folder / ".tmp-0123").write_bytes(b"half")
        said = []
        again = answer(place, folder, said=said, **SAMPLED)
        assert said[-1].startswith("28 of 28 requests, about 0 s left")  # half a batch again is not counted twice
        assert (folder / "answers.jsonl").read_bytes() == expected
        assert again == whole
        assert not (folder / ".tmp-0123").exists()
    texts = [row["messages"][1]["content"] for row in rows(tmp_path / "whole")]
    assert len(texts) == 28
    assert sum(a != b for a, b in zip(texts[::2], texts[1::2], strict=True)) > 10  # two answers, not one twice


def test_other_options_are_refused_with_what_differs(place, tmp_path):
    answer(place, tmp_path / "out", keep_cut_off=True)
    with pytest.raises(UsageError, match="max_new_tokens 12 there, 11 here") as raised:
        answer(place, tmp_path / "out", max_new_tokens=11)
    assert "prompts_digest" not in str(raised.value)
    with pytest.raises(UsageError, match=r"teacher_digest .*; form chat there, text here; prompts_digest"):
        answer(place, tmp_path / "out", "base")
    journal = (tmp_path / "out" / "journal").read_bytes()
    (tmp_path / "out" / "journal").write_bytes(b"x" + journal)
    with pytest.raises(ArtifactError, match="its first line is not whole"):
        answer(place, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds other files \(thesis.tex\)"):
        answer(place, tmp_path / "mine")


def test_a_prompt_without_room_for_its_answer_is_an_error_of_its_own(place, tmp_path):
    (place / "long.jsonl").write_text(json.dumps({"text": "a " * 60}) + "\n" + json.dumps({"text": "short"}) + "\n")
    config = AnswerConfig(
        teacher=str(place / "base"),
        data=str(place / "long.jsonl"),
        max_new_tokens=12,
        keep_cut_off=True,
        output_dir=tmp_path / "out",
        device="cpu",
    )
    done = stage.run(config, argv=[], say=lambda line: None)
    assert done.num_errored == 1
    assert done.first_error == "120 prompt tokens and --max-new-tokens 12 are more than the 128 that the teacher reads"
    assert [row["prompt"] for row in rows(tmp_path / "out")] == ["short"]


def test_logits_that_are_not_numbers_end_the_run(place, tmp_path):
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    make_tokenizer().save_pretrained(tmp_path / "nan")
    with pytest.raises(ModelError, match="gave logits that are not numbers"):
        answer(tmp_path, tmp_path / "out", "nan", data=str(place / "prompts.jsonl"))


def learn(data, student, output):
    config = DistillConfig(
        student=str(student),
        data=DataConfig(data=str(data), max_length=64, validation_documents=2),
        loss=LossConfig(alpha=0.0),
        training=TrainingConfig(steps=30, batch_size=2, learning_rate=3e-3, device="cpu", eval_every=30),
        output_dir=output,
    )
    return training.run(config, argv=[], say=lambda line: None)


@pytest.mark.parametrize(("teacher", "template"), [("chat", CHATML), ("base", None)])
def test_a_student_learns_the_answers(teacher, template, place, tmp_path):
    options = {"temperature": 0.3, "num_answers": 4, "keep_cut_off": True}
    answer(place, tmp_path / "answers", teacher, **options)
    student = save(tmp_path / "student", template=template, seed=1)
    done = learn(tmp_path / "answers" / "answers.jsonl", student, tmp_path / "out")
    assert done.after.hard_loss < 0.8 * done.before.hard_loss
    found = rows(tmp_path / "answers")
    if teacher == "chat":  # the answers alone, with the line feed that the template puts behind each
        num_tokens = sum(len(row["messages"][1]["content"].encode()) + 1 for row in found)
    else:  # the prompts too, but for their first token, and what ends a text
        num_tokens = sum(len(row["text"].encode()) for row in found)
    assert done.data.num_scored_tokens + done.data.num_validation_scored_tokens == num_tokens


# ---- a server


def test_the_command_line_asks_a_server_and_again_for_what_failed(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MY_KEY", "s3cret")
    argv = [
        "answer",
        "--teacher",
        "tiny",
        "--data",
        str(place / "prompts.jsonl"),
        "--output-dir",
        str(tmp_path / "out"),
    ]
    argv += ["--api-key-variable", "MY_KEY", "--max-new-tokens", "9"]
    finish = {PROMPTS[1]: ("cut", "length"), PROMPTS[2]: ("", "stop")}
    with serve(key="s3cret", trouble={PROMPTS[0]: [400]}, finish=finish) as fake:
        assert cli.main([*argv, "--endpoint", fake.address]) == 0
        said = capsys.readouterr().out
        assert "11 completed, 1 cut off at 9 tokens (left out), 1 empty, 1 errored" in said
        assert "The first error: status 400: trouble 400" in said
        assert len(rows(tmp_path / "out")) == 11
        fake.requests.clear()
        assert cli.main([*argv, "--endpoint", fake.address]) == 0
        assert list(fake.requests) == [PROMPTS[0]]
    assert "12 completed, 1 cut off at 9 tokens (left out), 1 empty, 0 errored" in capsys.readouterr().out
    found = rows(tmp_path / "out")
    assert [row["messages"][1]["content"] for row in found] == [f"re: {p}" for p in (PROMPTS[0], *PROMPTS[3:])]
    assert all(b"s3cret" not in path.read_bytes() for path in (tmp_path / "out").iterdir())


def test_no_answer_at_all_is_an_error_and_leaves_no_data_set(place, tmp_path):
    options = {"teacher": "tiny", "data": str(place / "prompts.jsonl")}
    expected = pytest.raises(ModelError, match=r"gave no answer to learn from: 14 cut off\. Raise --max-new-tokens")
    with serve(finish=dict.fromkeys(PROMPTS, ("so", "length"))) as fake, expected:
        answer(place, tmp_path / "out", endpoint=fake.address, **options)
    assert not (tmp_path / "out" / "answers.jsonl").exists()
