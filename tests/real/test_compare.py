"""The commands of the README on the real checkpoint and real benchmarks, by Hub name, as a user types them."""

import json
import os
import subprocess
import sys

import pytest

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def run(*arguments, **variables):
    command = [sys.executable, "-m", "distill_eval.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=900)


@pytest.fixture(scope="module")
def place(hub, tmp_path_factory):
    """A folder with a student made by name, and a cache that the tests of this file share."""
    root = tmp_path_factory.mktemp("real")
    done = run("prepare", "--teacher", MODEL, "--keep-layers", "0-11,22-29", "--output-dir", str(root / "student"))
    assert done.returncode == 0, done.stderr
    return root


def compare(place, *extra, tasks="mmlu,lambada_openai,arc_easy", **variables):
    arguments = ["--teacher", f"{MODEL}@main", "--student", str(place / "student"), "--tasks", tasks, "--limit", "2"]
    return run(
        "compare",
        *arguments,
        "--output-dir",
        str(place / "out"),
        *extra,
        DISTILL_EVAL_CACHE=str(place / "cache"),
        **variables,
    )


def test_a_comparison_by_name_and_again_without_a_network(place):
    done = compare(place)
    assert done.returncode == 0, done.stderr
    first = (place / "out" / "retention.json").read_bytes()
    retention = json.loads(first)
    assert retention["teacher"]["num_parameters"] == 134_515_008
    assert retention["students"][0]["num_parameters"] == 134_515_008 - 10 * 3_540_096
    entries = {(entry["task"], entry["metric"]): entry for entry in retention["entries"]}
    assert entries["mmlu", "acc"]["num_pairs"] == 57 * 2
    assert entries["lambada_openai", "acc"]["num_pairs"] == 2
    assert str(place / "out" / "report.md") in done.stdout
    samples = list((place / "out").glob("samples-*.jsonl"))
    assert len(samples) == 2 * (57 + 2)

    again = compare(place, HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert "100%" not in again.stderr
    assert json.loads((place / "out" / "retention.json").read_text())["entries"] == retention["entries"]

    listed = run("cache", "list", DISTILL_EVAL_CACHE=str(place / "cache"))
    assert listed.returncode == 0
    assert "mmlu" in listed.stdout


def test_a_tag_of_which_a_member_has_no_data_names_the_members_that_have(place):
    done = compare(place, tasks="lambada")
    if done.returncode == 0:
        pytest.skip("this Hub has the data of both members")
    assert done.returncode == 1
    told = " ".join(done.stderr.split())
    assert "lambada_standard" in told
    assert "--tasks lambada_openai" in told
