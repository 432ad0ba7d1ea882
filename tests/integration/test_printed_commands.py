"""Every command that the README and the docs print is run, page by page, on tiny models, data and tasks."""

import json
import shlex
import shutil
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import openai_server, tiny_classifiers
from fakes.runs import write_text
from fakes.streaming_server import streaming
from fakes.tiny_tasks import write_tasks
from fakes.tiny_variants import save_original
from printed import COMMAND, DOCUMENTS, ROOT, commands, lines

from distill_eval.cli import main
from distill_eval.recipe import shipped
from distill_eval.record import to_toml

STANDS_IN = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "org/teacher",
    "TEACHER": "org/teacher",
    "STUDENT": "org/teacher",
    "Salesforce/wikitext": "texts.jsonl",
    "my-text.jsonl": "texts.jsonl",
    "org/text": "texts.jsonl",
    "mmlu": "tiny_group",
    "arc_easy": "tiny_mc",
    "hellaswag": "tiny_a",
    "winogrande": "tiny_b",
    "lambada_openai": "tiny_cloze",
    "wikitext": "tiny_text",
    "0-11": "0",
    "18-29": "2",
    "110M": "280K",
    "80M": "230K",
    "67M": "230K",
    "max-quality": "max-quality.toml",
    "smoke": "smoke.toml",
}
"""What stands here for a word, or for one of several between commas."""
TRAINING = {"--steps": "2", "--batch-size": "2", "--max-length": "32", "--validation-documents": "5"}
CALIBRATION = {"--calibration-samples": "2", "--calibration-length": "16"}
SMALLER = {
    "prepare": {"--calibration": "texts.jsonl"} | CALIBRATION,
    "distill": TRAINING,
    "sweep": TRAINING | {"--temperatures": "1,2", "--alphas": "0.5"},
    "cache-teacher": {"--max-length": "32", "--validation-documents": "5"},
    "answer": {"--max-new-tokens": "4", "--max-prompts": "8", "--keep-cut-off": None},
    "compare": {"--limit": "4", "--include-path": "tasks", "--parity-docs": "2"},
    "plan": {"--include-path": "tasks"},
    "quantize": CALIBRATION | {"--held-out-samples": "2"},
    "export": {"--text-samples": "2", "--text-length": "16"},
    "fidelity": {"--text-samples": "2", "--text-length": "16"},
    "bench": {
        "--model": "tiny,tiny",
        "--tokenizer": "org/teacher",
        "--concurrency": "1",
        "--num-prompts": "2",
        "--repeats": "1",
        "--random-input-len": "8",
        "--random-output-len": "4",
    },
}
"""Sizes by verb, whatever the page says; a benchmark is of two fake servers, and an answer may be cut off."""
LEFT_OUT = {"--text-subset", "--text-split", "--test-split", "--dtype", "--cpu"}
"""What the stand-ins do not have: a local file no splits, a server that runs no settings."""
SMALL_STAGES = {
    "data": {"data": "texts.jsonl", "max_length": 32, "validation_documents": 5, "max_documents": 40},
    "prepare": {"calibration_samples": 2, "calibration_length": 16},
    "distill": {"training": {"steps": 2, "batch_size": 2, "accumulate": 1}},
    "quantize": {"calibration_samples": 2, "calibration_length": 16, "held_out_samples": 2},
    "export": {"text_samples": 2, "text_length": 16},
    "compare": {"evaluation": {"tasks": ["tiny_mc"], "limit": 4, "include_path": "tasks"}, "parity": False},
    "fidelity": {"text": "texts.jsonl", "text_samples": 2, "text_length": 16},
}
"""Sizes of a shipped recipe's stages, where it has them; its benchmark is left to test_recipe_whole.py."""
NOT_RUN = {
    "make": "installs; CI runs it",
    "pip install": "installs",
    "python3 -m venv": "installs",
    "hf auth login": "asks for a token",
    "accelerate launch --multi_gpu": "needs GPUs; test_distill_processes.py runs it on CPUs",
    "python benchmarks/": "measures for minutes, on a real model",
    "python serve/smoke.py": "needs vLLM; tests/real/test_serve.py runs it",
    "python -m pytest": "a test",
    "DISTILL_EVAL_UPDATE_GOLDEN=1 pytest": "a test",
    "git diff": "needs a checkout with changes",
    "export DISTILL_EVAL_API_KEY": "the shell's",
    "docker": "needs Docker",
    "kind": "needs Kubernetes",
    "kubectl": "needs Kubernetes",
    "distill-eval serve": "needs vLLM, and ends when it is told to; test_serve.py and tests/real/test_serve.py run it",
    "distill-eval compare --engine vllm": "needs vLLM; tests/real/test_engines.py runs it",
    "distill-eval bench --sweep": "searches for minutes; test_bench.py runs it",
    "distill-eval report --push-to-hub": "needs the Hub; test_push.py runs it on a fake one",
    "distill-eval report --wandb": "needs the tracker; test_publish.py runs it on fake ones",
    "distill-eval report --mlflow": "needs the tracker; test_publish.py runs it on fake ones",
}
"""What does not run here, by words that its line begins with or has, and why."""
PRESUMED = {
    "student": "prepare --teacher org/teacher --keep-layers 0-11,18-29 --output-dir student",
    "student-w8a8": "quantize --model student --scheme W8A8 --calibration texts.jsonl --output-dir student-w8a8",
    "runs/mine": "run max-quality --teacher org/teacher --data texts.jsonl --output-dir runs/mine",
    "runs/last": "run max-quality --teacher org/teacher --data texts.jsonl --output-dir runs/last",
    "runs/new": "run max-quality --teacher org/teacher --data texts.jsonl --output-dir runs/new",
    "runs/student": "distill --student student --teacher org/teacher --data texts.jsonl --output-dir runs/student",
    "runs/baseline": "distill --student student --teacher org/teacher --data texts.jsonl --baseline "
    "--output-dir runs/baseline",
    "runs/half-depth": "distill --student student --teacher org/teacher --data texts.jsonl "
    "--output-dir runs/half-depth",
    "runs/half-depth-baseline": "distill --student student --teacher org/teacher --data texts.jsonl --baseline "
    "--output-dir runs/half-depth-baseline",
}
"""What pages begin with, and the command that makes it."""
PAGES = [path for path in DOCUMENTS if any(COMMAND.fullmatch(line) for line in lines(path.read_text()))]


def not_run(line):
    """The entry of the table that a line is in, if any."""
    for entry in NOT_RUN:
        first, *options = entry.split(" --") if entry.startswith("distill-eval") else [entry]
        if line.startswith(first) and all(f" --{option}" in line for option in options):
            return entry
    return None


@pytest.fixture(scope="module")
def begin(tmp_path_factory):
    """A folder with what nobody has to make: a teacher, a classifier, texts, prompts, tasks, recipes."""
    root = tmp_path_factory.mktemp("begin")
    save_original(root / "org/teacher")
    (root / "org/teacher/README.md").write_text("---\nlicense: apache-2.0\n---\n")
    tiny_classifiers.save(root / "sentence-transformers/all-MiniLM-L6-v2", tiny_classifiers.bert(6))
    for split in ("train", "test"):
        path = root / "dair-ai/emotion" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny_classifiers.write_rows(path, tiny_classifiers.make_rows(24))
    write_text(root / "texts.jsonl")
    prompts = [{"text": f"Count to {n}.", "instruction": f"Count to {n}.", "input": ""} for n in range(8)]
    for path in (root / "prompts.jsonl", root / "local/instruct_mix/train.jsonl"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in prompts))
    write_tasks(root / "tasks")
    for name in ("smoke", "max-quality"):
        (root / f"{name}.toml").write_text(to_toml(smaller_recipe(tomllib.loads(shipped()[name]))))
    return root


def smaller_recipe(table):
    """A shipped recipe on what stands in here."""
    kept = {name: part for name, part in table.items() if name != "bench"}
    sizes = {name: size for name, size in SMALL_STAGES.items() if name in kept}
    if "num_layers" in kept["prepare"]:
        sizes["prepare"] = sizes["prepare"] | {"num_layers": 2}
    return with_sizes(kept, {"teacher": "org/teacher", "data": SMALL_STAGES["data"]} | sizes)


def with_sizes(table, sizes):
    """The table with these values, nested ones and each of several too."""
    found = dict(table)
    for name, size in sizes.items():
        there = found.get(name, {})
        if isinstance(there, list) and isinstance(size, dict):
            found[name] = [with_sizes(one, size) for one in there]
        else:
            found[name] = with_sizes(there, size) if isinstance(size, dict) else size
    return found


def options_of(words, servers):
    """Sizes of a command, and the servers that stand where vLLM's do."""
    options = dict(SMALLER.get(words[0], {}))
    if "autoround" in words:
        options["--iterations"] = "2"
    if "--label-column" in words:
        options = {name: options[name] for name in ("--steps", "--batch-size")}
    if words[0] == "answer" and "--endpoint" in words:
        options["--endpoint"] = servers.answering.address
    if words[0] == "bench":
        options["--endpoint"] = ",".join(server.address for server in servers.streaming)
    return options


def smaller(words, servers):
    """A printed command on what stands in here."""
    options, found = options_of(words, servers), []
    while words:
        option, *rest = words
        num = 1 + (option.startswith("--") and bool(rest) and not rest[0].startswith("--"))
        if option not in LEFT_OUT | set(options):
            found += [
                ",".join(STANDS_IN.get(part, part.removeprefix("./")) for part in word.split(","))
                for word in words[:num]
            ]
        words = words[num:]
    return found + [word for pair in options.items() for word in pair if word is not None]


class Servers(NamedTuple):
    """What pages presume to be served."""

    streaming: list[Any]
    answering: Any


class Place:
    """A folder in which commands are run, each once: what another folder has of the same command is copied."""

    def __init__(self, folder, servers, done):
        self.folder, self.servers, self.done = folder, servers, done

    def run(self, words):
        """The exit code."""
        words = tuple(smaller(words, self.servers))
        output = words[words.index("--output-dir") + 1] if "--output-dir" in words else None
        for path in {part for word in words if word != output for part in word.split(",")} & set(PRESUMED):
            if not (self.folder / path).exists():
                assert self.run(shlex.split(PRESUMED[path])) == 0, PRESUMED[path]
        if words not in self.done:
            self.done[words] = main(words), self.folder
        code, folder = self.done[words]
        if output is not None and folder != self.folder:
            shutil.copytree(folder / output, self.folder / output, dirs_exist_ok=True)
        return code


@pytest.fixture(scope="module")
def servers():
    with ExitStack() as stack:
        streams = [stack.enter_context(streaming(ttft_ms=2, itl_ms=1)) for _ in range(2)]
        models = ({"id": "org/teacher", "root": "org/teacher"},)
        yield Servers(streams, stack.enter_context(openai_server.serve(models=models)))


@pytest.fixture(scope="module")
def cache(task_index, tmp_path_factory):
    """One evaluation cache for all pages, as a reader has."""
    return shutil.copytree(task_index, tmp_path_factory.mktemp("kept") / "cache")


@pytest.fixture(scope="module")
def done():
    """Every command that was run: its exit code, and the folder."""
    return {}


def test_every_line_runs_or_has_a_reason_not_to():
    found = {line: not_run(line) for path in DOCUMENTS for line in lines(path.read_text())}
    assert [line for line, entry in found.items() if entry is None and not COMMAND.fullmatch(line)] == []
    assert set(NOT_RUN) == set(filter(None, found.values()))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_a_page_run_in_order(page, begin, tmp_path, servers, done, monkeypatch, capfd, cache):
    monkeypatch.chdir(shutil.copytree(begin, tmp_path / "page"))
    monkeypatch.setenv("DISTILL_EVAL_CACHE", str(cache))
    place = Place(Path.cwd(), servers, done)
    for words in commands(page.read_text()):
        if not_run(shlex.join(["distill-eval", *words])) is None:
            code = place.run(words)
            allowed = (0, 3, 4) if "--gate" in words else (0,)
            assert code in allowed, f"{shlex.join(words)}:\n{capfd.readouterr().err}"
