"""A real encoder on real texts: fine-tuned to a teacher, cut to half of its layers, and distilled."""

import json

import pytest

from distill_eval import cli

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DATA = "dair-ai/emotion"


def distill(output, *options):
    common = ["--data", DATA, "--label-column", "label", "--validation-split", "validation", "--max-length", "48"]
    common += ["--validation-documents", "60", "--max-documents", "2000"]
    training = ["--batch-size", "8", "--eval-every", "100", "--output-dir", str(output)]
    assert cli.main(["distill", *common, *training, *options]) == 0
    return json.loads((output / "distill.json").read_text())


def test_an_encoder_is_tuned_cut_and_distilled(tmp_path, capsys):
    tuned = distill(
        tmp_path / "teacher",
        *("--student", ENCODER, "--alpha", "0", "--steps", "25", "--learning-rate", "3e-4", "--no-measure-speed"),
    )
    teacher = str(tmp_path / "teacher")
    cut = ["prepare", "--teacher", teacher, "--keep-layers", "0,2,5", "--output-dir", str(tmp_path / "cut")]
    assert cli.main(cut) == 0
    done = distill(
        tmp_path / "student",
        *("--student", str(tmp_path / "cut"), "--teacher", teacher, "--steps", "10", "--learning-rate", "2e-4"),
    )
    found = done["classification"]
    assert found["labels"] == ["sadness", "joy", "love", "anger", "fear", "surprise"]
    assert found["measured_on"] == f"{DATA} (validation)"
    assert tuned["num_parameters"] == 22_715_526  # the published encoder's 22,713,216, and 6 labels of 384 + 1
    assert tuned["after"]["hard_loss"] < tuned["before"]["hard_loss"] - 0.1
    assert done["after"]["kl"] < 0.8 * done["before"]["kl"]
    student, [teacher] = found["student"], found["teachers"]
    assert teacher["accuracy"] == pytest.approx(tuned["after"]["accuracy"])
    assert student["num_parameters"] == teacher["num_parameters"] - 3 * 1_774_464
    assert student["latency_p50_ms"] < teacher["latency_p50_ms"]
    assert student["resident_bytes"] < teacher["resident_bytes"]
    assert "exact McNemar" in capsys.readouterr().out
