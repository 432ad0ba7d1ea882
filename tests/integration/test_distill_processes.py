"""`distill` in two processes, as `accelerate launch` and torchrun start them: the same losses as in one."""

import json
import os
import subprocess
import sys

import pytest
from fakes.tiny_runs import command, write_models_and_text
from safetensors.torch import load_file

from distill_eval.cli import main

TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
TWICE = """
import sys
from distill_eval.cli import main

words = sys.argv[1:]
before = [word + "-before" if word.startswith("--output-dir=") else word for word in words]
sys.exit(main(before) or main(words))
"""
ACCELERATE = [
    "accelerate.commands.launch",
    "--multi_gpu",  # more than one process per machine; --device cpu decides where they compute
    "--num_processes=2",
    "--num_machines=1",
    "--mixed_precision=no",
    "--dynamo_backend=no",
    "--main_process_port=0",
]
SAID_ONCE = ("teacher: validation", "student: validation", "step 3 of 6", "step 6 of 6", "Validation perp", "Student:")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher, a student, and a text whose validation rows two processes cannot share evenly."""
    return write_models_and_text(tmp_path_factory.mktemp("processes"))


def argv(place, output, *, batch_size, accumulate):
    return command(
        "distill", place, output, batch_size=batch_size, accumulate=accumulate, eval_every=3, learning_rate=3e-3
    )


def curve(folder):
    """Everything in the log but the tokens seen, which count padding: rows are padded to the longest of their batch."""
    return {
        (point["step"], name): value
        for point in json.loads((folder / "distill.json").read_text())["curve"]
        for name, value in point["values"].items()
        if name != "num_input_tokens_seen"
    }


@pytest.mark.parametrize(
    ("launcher", "accumulate", "runs"), [(TORCHRUN, 1, 2), (ACCELERATE, 2, 1)], ids=["torchrun twice", "accelerate"]
)
def test_two_processes_learn_as_one_with_twice_the_batch(place, tmp_path, launcher, accumulate, runs):
    two = argv(place, tmp_path / "two", batch_size=2, accumulate=accumulate)
    (tmp_path / "twice.py").write_text(TWICE)
    what = ["-m", "distill_eval.cli"] if runs == 1 else [str(tmp_path / "twice.py")]
    launched = [sys.executable, "-m", *launcher, *what, *two]
    done = subprocess.run(launched, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert {line: done.stdout.count(line) for line in SAID_ONCE} == dict.fromkeys(SAID_ONCE, runs)
    assert main(argv(place, tmp_path / "one", batch_size=4, accumulate=accumulate)) == 0

    one, two = tmp_path / "one", tmp_path / "two"
    assert json.loads((two / "distill-config.json").read_text())["num_processes"] == 2
    assert json.loads((one / "distill.json").read_text())["data"]["num_validation_blocks"] % 4 != 0
    expected, found = curve(one), curve(two)
    assert {"loss", "soft_loss", "hard_loss", "eval_loss", "eval_kl", "grad_norm"} <= {name for _, name in expected}
    assert found == pytest.approx(expected, rel=1e-4)
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    whole = load_file(one / "model.safetensors")
    for name, tensor in load_file(two / "model.safetensors").items():
        assert (tensor - whole[name]).abs().max() < 1e-4, name


def test_a_wrong_command_is_refused_by_the_main_process_alone(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").touch()
    wrong = argv(place, tmp_path / "used", batch_size=2, accumulate=1)
    said = {}
    for number in ("0", "1"):
        monkeypatch.setenv("RANK", number)
        assert main(wrong) == 2
        said[number] = capsys.readouterr().err
    assert "is not empty" in said["0"]
    assert said["1"] == ""


def test_a_run_goes_on_with_as_many_processes_as_it_began_with(place, tmp_path, capsys):
    words = argv(place, tmp_path / "out", batch_size=4, accumulate=1)
    assert main(words) == 0
    (tmp_path / "out" / "distill.json").unlink()
    config = tmp_path / "out" / "distill-config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_processes": 2}))
    assert main([*words, "--resume"]) == 2
    assert "--num-processes was 2 and is 1" in capsys.readouterr().err
