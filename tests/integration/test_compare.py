"""`distill-eval compare` as a user types it, on tiny models and tasks of every output type."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from fakes.tiny_families import make_model, make_tokenizer, save
from fakes.tiny_tasks import write_tasks

from distill_eval.cli import main

TASKS = "tiny_mc,tiny_cloze,tiny_text,tiny_gen,tiny_group"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with tasks, a teacher, and students that differ from it."""
    root = tmp_path_factory.mktemp("compare")
    write_tasks(root / "tasks")
    save("llama", root / "teacher", seed=0)
    save("llama", root / "student", seed=1)
    save("gpt2", root / "other", seed=2)
    noise = save("llama", root / "noise", seed=3)
    with torch.no_grad():
        noise.lm_head.weight *= 20  # sure of itself, and wrong
    noise.save_pretrained(root / "noise")
    return root


def argv(place, *extra, student="student", tasks=TASKS, teacher="teacher", output="out"):
    return [
        "compare",
        f"--teacher={place / teacher}",
        f"--student={','.join(str(place / name) for name in student.split(','))}",
        f"--tasks={tasks}",
        f"--include-path={place / 'tasks'}",
        f"--output-dir={place / output}",
        *extra,
    ]


def retention(place, output="out"):
    return json.loads((place / output / "retention.json").read_text())


def scores(folder, place, tasks=TASKS, **options):
    """What lm-eval itself says of a model, by (task, metric, filter)."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval(),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=4,
    )
    manager = TaskManager(include_path=str(place / "tasks"), include_defaults=False)
    found = simple_evaluate(model=model, tasks=tasks.split(","), task_manager=manager, bootstrap_iters=0, **options)
    return {
        (task, *key.split(",")): value
        for task, row in found["results"].items()
        for key, value in row.items()
        if "," in key and "stderr" not in key
    }


def test_every_output_type_gets_lm_evals_own_scores(place, capsys):
    assert main(argv(place, "--limit=12")) == 0
    entries = retention(place)["entries"]
    for role in ("teacher", "student"):
        expected = scores(place / role, place, limit=12)
        found = {(e["task"], e["metric"], e["filter"]): e[f"lm_eval_{role}"] for e in entries}
        assert {task for task, _, _ in found} == {*TASKS.split(","), "tiny_a", "tiny_b"}
        for key, value in found.items():
            assert value == pytest.approx(expected[key], rel=1e-5), key
    shares = [e for e in entries if e["unit"] == "share"]
    assert all(e["teacher"]["value"] == pytest.approx(e["lm_eval_teacher"]) for e in shares)
    assert "report.md" in capsys.readouterr().out
    files = {path.name for path in (place / "out").iterdir()}
    assert files == {"retention.json", "report.md"} | {
        f"samples-{role}-{role}-{task}.jsonl"
        for role in ("teacher", "student")
        for task in ("tiny_mc", "tiny_cloze", "tiny_text", "tiny_gen", "tiny_a", "tiny_b")
    }
    samples = (place / "out" / "samples-teacher-teacher-tiny_mc.jsonl").read_text().splitlines()
    assert [json.loads(line)["doc_id"] for line in samples] == list(range(12))


@pytest.mark.parametrize("chat", [False, True], ids=["plain", "chat"])
def test_shots_filters_repeats_and_nested_groups_get_lm_evals_own_scores(place, chat):
    tasks = "tiny_filters,tiny_outer"
    assert main(argv(place, "--limit=8", *["--apply-chat-template"] * chat, tasks=tasks)) == 0
    expected = scores(place / "student", place, tasks, limit=8, apply_chat_template=chat, fewshot_as_multiturn=chat)
    found = {(e["task"], e["metric"], e["filter"]): e["lm_eval_student"] for e in retention(place)["entries"]}
    assert {name for task, _, name in found if task == "tiny_filters"} == {"first-word", "last-word"}
    assert {"tiny_outer", "tiny_group", "tiny_shots"} <= {task for task, _, _ in found}
    for key, value in found.items():
        assert value == pytest.approx(expected[key], rel=1e-6), key


def test_the_same_comparison_again_computes_nothing_and_gives_the_same_bytes(place, capsys):
    main(argv(place, "--limit=7"))
    first = {path.name: path.read_bytes() for path in (place / "out").iterdir()}
    capsys.readouterr()
    main(argv(place, "--limit=7"))
    assert "100%" not in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (place / "out").iterdir()} == first


def test_a_second_student_reuses_the_teacher(place, capsys):
    main(argv(place, "--limit=6", tasks="tiny_mc"))
    capsys.readouterr()
    main(argv(place, "--limit=6", tasks="tiny_mc", student="student,other"))
    told = capsys.readouterr().err
    assert "other: tiny_mc 100%" in told
    assert "teacher: tiny_mc" not in told
    assert "student: tiny_mc" not in told
    assert [v["student_ref"] for v in retention(place)["verdicts"]] == [str(place / "student"), str(place / "other")]


def test_a_model_is_known_by_its_content_not_by_its_path(place, tmp_path, capsys):
    main(argv(place, "--limit=5", tasks="tiny_mc"))
    shutil.copytree(place / "teacher", tmp_path / "moved")
    capsys.readouterr()
    main(argv(place, "--limit=5", tasks="tiny_mc", teacher=str(tmp_path / "moved")))
    assert "100%" not in capsys.readouterr().err
    assert retention(place)["teacher"]["ref"] == str(tmp_path / "moved")
    model = make_model("llama", seed=0)
    with torch.no_grad():
        model.lm_head.weight[5] += 0.5
    model.save_pretrained(tmp_path / "moved")
    main(argv(place, "--limit=5", tasks="tiny_mc", teacher=str(tmp_path / "moved")))
    assert "moved: tiny_mc 100%" in capsys.readouterr().err


def test_a_teacher_keeps_all_of_itself(place):
    assert main(argv(place, "--margin=0.05", "--gate", student="teacher", tasks="tiny_mc,tiny_text")) in (0, 4)
    for entry in retention(place)["entries"]:
        assert entry["retention"]["value"] == 1
        assert entry["difference"]["value"] == 0
        assert entry["flips"] is None or set(entry["flips"].values()) == {0}


def test_the_gate_tells_fail_from_pass_and_from_not_knowing(place):
    assert main(argv(place, "--gate", "--margin=0.9", tasks="tiny_mc")) == 0
    assert main(argv(place, "--gate", "--margin=0", tasks="tiny_text", student="noise")) == 3
    assert main(argv(place, "--gate", "--margin=0.01", "--limit=3", tasks="tiny_mc")) == 4
    verdicts = {v["verdict"] for v in retention(place)["verdicts"]}
    assert verdicts == {"INCONCLUSIVE"}


def test_another_tokenizer_is_allowed_and_stated(place, tmp_path):
    shutil.copytree(place / "student", tmp_path / "s")
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["bone"])
    tokenizer.save_pretrained(tmp_path / "s")
    assert main(argv(place, tasks="tiny_text", student=str(tmp_path / "s"))) == 0
    assert any("tokenizer" in finding["text"] for finding in retention(place)["findings"])
    assert retention(place)["entries"][0]["unit"] == "bits/byte"


def test_a_model_that_cannot_share_prefixes_is_scored_plainly_and_the_report_says_so(place, tmp_path):
    from transformers import AutoModelForCausalLM, BloomConfig

    torch.manual_seed(0)
    config = BloomConfig(vocab_size=260, hidden_size=32, n_layer=2, n_head=2, bos_token_id=256, eos_token_id=257)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "bloom")
    make_tokenizer().save_pretrained(tmp_path / "bloom")
    assert main(argv(place, "--limit=4", tasks="tiny_mc", student=str(tmp_path / "bloom"))) == 0
    assert "BloomForCausalLM does not use" in (place / "out" / "report.md").read_text()
    assert main(argv(place, "--limit=4", "--scorer=plain", tasks="tiny_mc")) == 0


def test_chat_templates_are_applied_and_identify_the_run(place):
    assert main(argv(place, "--limit=4", "--apply-chat-template", tasks="tiny_mc")) == 0
    assert retention(place)["manifest"]["apply_chat_template"] is True


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class StrangeConfig(LlamaConfig):
    model_type = "strange"

class Strange(LlamaForCausalLM):
    config_class = StrangeConfig
"""


def with_own_code(place, folder):
    """The student as a model that only its own Python file can load."""
    shutil.copytree(place / "student", folder)
    (folder / "strange.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "architectures": ["Strange"]}
    config["auto_map"] = {"AutoConfig": "strange.StrangeConfig", "AutoModelForCausalLM": "strange.Strange"}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_models_own_code_runs_only_when_allowed_and_is_part_of_its_content(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    with_own_code(place, tmp_path / "own")
    plain = argv(place, "--limit=3", tasks="tiny_mc", student=str(tmp_path / "own"))
    assert main(plain) == 1
    assert "add --trust-remote-code" in capsys.readouterr().err
    assert main([*plain, "--trust-remote-code"]) == 0
    first = retention(place)["students"][0]
    assert first["architecture"] == "Strange"
    (tmp_path / "own" / "strange.py").write_text(CODE + "# changed\n")
    assert main([*plain, "--trust-remote-code"]) == 0
    assert retention(place)["students"][0]["weights_digest"] != first["weights_digest"]


def test_models_with_other_chat_templates_are_refused_before_anything_is_scored(place, tmp_path, capsys):
    shutil.copytree(place / "student", tmp_path / "s")
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template + " "
    tokenizer.save_pretrained(tmp_path / "s")
    assert main(argv(place, "--apply-chat-template", tasks="tiny_mc", student=str(tmp_path / "s"))) == 1
    told = capsys.readouterr().err
    assert "different chat templates" in told
    assert "tiny_mc" not in told


# ---- bad input: a clear message, exit code 1 or 2, nothing written


def broken(place, tmp_path):
    """Folders and task files that cannot work."""
    tasks = write_tasks(tmp_path / "tasks")
    (tasks / "tiny_b.jsonl").unlink()
    (tasks / "empty.jsonl").write_text("")
    text = (tasks / "tiny_a.yaml").read_text()
    (tasks / "empty.yaml").write_text(
        text.replace("tiny_a.jsonl", "empty.jsonl").replace("task: tiny_a", "task: empty")
    )
    (tasks / "unsafe.yaml").write_text(text.replace("task: tiny_a", "task: unsafe") + "unsafe_code: true\n")
    remote = text.replace("task: tiny_a", "task: remote").replace("{data_files", "{trust_remote_code: true, data_files")
    (tasks / "remote.yaml").write_text(remote)
    for name in ("no_weights", "pickle", "nan"):
        shutil.copytree(place / "student", tmp_path / name)
    (tmp_path / "no_weights" / "model.safetensors").unlink()
    (tmp_path / "pickle" / "model.safetensors").rename(tmp_path / "pickle" / "pytorch_model.bin")
    model = make_model("llama", seed=1)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    (tmp_path / "file").write_text("")


BAD = {
    "unknown task": (["--tasks=tiny_mcc"], 1, ["tiny_mcc", "tiny_mc"]),
    "unknown task of lm-eval": (["--tasks=hellaswagg"], 1, ["hellaswag"]),
    "a member without data": (["--tasks=tiny_group"], 1, ["tiny_b", "--tasks tiny_a"]),
    "no documents": (["--tasks=empty"], 1, ["empty"]),
    "code execution": (["--tasks=unsafe"], 1, ["--confirm-run-unsafe-code"]),
    "remote code": (["--tasks=remote"], 1, ["--trust-remote-code"]),
    "limit 0": (["--limit=0"], 2, ["--limit 0"]),
    "negative limit": (["--limit=-3"], 2, ["--limit -3"]),
    "half a document": (["--limit=2.5"], 2, ["--limit 2.5"]),
    "no such folder": (["--student=./nowhere"], 1, ["./nowhere"]),
    "no weights": (["--student={tmp}/no_weights"], 1, ["no weights", "safetensors"]),
    "pickle weights": (["--student={tmp}/pickle"], 1, ["pickle", "pytorch_model.bin"]),
    "a folder with a revision": (["--student={place}/student@main"], 2, ["student@main"]),
    "NaN": (["--student={tmp}/nan"], 1, ["{tmp}/nan", "document 0", "tiny_mc"]),
    "an output folder that is a file": (["--output-dir={tmp}/file"], 2, ["--output-dir"]),
    "an output folder below a file": (["--output-dir={tmp}/file/x"], 1, ["{tmp}/file"]),
    "two criteria": (["--margin=0.1", "--min-retention=0.9"], 2, ["--margin", "--min-retention"]),
    "no CUDA": (["--device=cuda"], 2, ["--device cuda", "cpu"]),
    "an unknown device": (["--device=tpu"], 2, ["tpu", "cuda:N"]),
    "an unknown option": (["--tassk=x"], 2, ["tassk"]),
    "no tasks": (["--tasks="], 2, ["--tasks"]),
    "negative shots": (["--num-fewshot=-1"], 2, ["--num-fewshot -1"]),
    "a task twice with other settings": (["--tasks=tiny_shots,tiny_outer"], 1, ["tiny_outer", "tiny_shots"]),
    "no hub and nothing cached": (["--student=someorg/somemodel"], 1, ["someorg/somemodel", "cannot be reached"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, place, tmp_path, capsys, monkeypatch):
    broken(place, tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    extra, code, words = BAD[case]
    known = {"tmp": tmp_path, "place": place}
    base = {"--tasks": "tiny_mc", "--student": f"{place}/student", "--output-dir": f"{tmp_path}/out"}
    base |= {"--teacher": f"{place}/teacher", "--include-path": f"{tmp_path}/tasks"}
    base |= dict(option.format(**known).split("=", 1) for option in extra)
    if case == "no CUDA" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    try:
        found = main(["compare", *(f"{name}={value}" for name, value in base.items())])
    except SystemExit as error:
        found = error.code
    told = " ".join(capsys.readouterr().err.split())
    assert found == code, told
    for word in words:
        assert word.format(**known) in told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("out/*"))


# ---- interruptions, in processes of their own


def start(place, cache, output):
    shutil.copytree(os.environ["DISTILL_EVAL_CACHE"], cache, dirs_exist_ok=True)
    command = [sys.executable, "-m", "distill_eval.cli", *argv(place, "--batch-tokens=64", output=output)]
    env = {**os.environ, "DISTILL_EVAL_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finished_bytes(cache):
    """How much the cache holds of responses, finished tasks and journals together."""
    found = [*cache.glob("responses/*.entry"), *cache.glob("responses/*.journal")]
    return sum(path.stat().st_size for path in found if path.exists())


def wait_for_more(process, cache, before):
    """Until the run has recorded something new (or is finished)."""
    while process.poll() is None and finished_bytes(cache) <= before:
        time.sleep(0.002)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(how, place, tmp_path):
    whole = start(place, tmp_path / "whole", "whole")
    assert whole.wait() == 0, whole.stderr.read()
    for _ in range(2):
        before = finished_bytes(tmp_path / "cut")
        process = start(place, tmp_path / "cut", "cut")
        wait_for_more(process, tmp_path / "cut", before)
        process.send_signal(how)
        told = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 130), told
        assert not (place / "cut" / "retention.json").exists()
    last = start(place, tmp_path / "cut", "cut")
    assert last.wait() == 0, last.stderr.read()
    found, expected = retention(place, "cut"), retention(place, "whole")
    assert found["entries"] == expected["entries"]
    for path in (place / "whole").glob("samples-*"):
        assert (place / "cut" / path.name).read_bytes() == path.read_bytes()
    shutil.rmtree(place / "cut")


def test_two_processes_share_one_cache(place, tmp_path):
    processes = [start(place, tmp_path / "shared", name) for name in ("one", "two")]
    told = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    assert retention(place, "one")["entries"] == retention(place, "two")["entries"]
    for task in ("tiny_mc", "tiny_cloze", "tiny_text", "tiny_gen", "tiny_a", "tiny_b"):
        files = [path.name for path in (place / "one").glob(f"samples-*-{task}.jsonl")]
        assert len(files) == 2
        assert all((place / "one" / name).read_bytes() == (place / "two" / name).read_bytes() for name in files)
