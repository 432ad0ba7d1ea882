"""A real encoder on real texts: fine-tuned to a teacher, cut to half of its layers, and distilled."""

import json

import pytest

from distill_eval import cli

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DATA = "ucirvine/sms_spam"
ALL_HAM = 0.47
"""Macro F1 of calling everything ham, at most: half of the F1 of the 87 % that are."""


def distill(output, *options):
    common = ["--data", DATA, "--text-column", "sms", "--label-column", "label", "--validation-documents", "100"]
    training = ["--max-length", "48", "--batch-size", "8", "--eval-every", "100", "--output-dir", str(output)]
    assert cli.main(["distill", *common, *training, *options]) == 0
    return json.loads((output / "distill.json").read_text())


def test_an_encoder_is_tuned_cut_and_distilled(tmp_path, capsys):
    tuned = distill(
        tmp_path / "teacher",
        *("--student", ENCODER, "--alpha", "0", "--steps", "30", "--learning-rate", "3e-4", "--no-measure-speed"),
    )
    teacher = str(tmp_path / "teacher")
    cut = ["prepare", "--teacher", teacher, "--keep-layers", "0,3", "--output-dir", str(tmp_path / "cut")]
    assert cli.main(cut) == 0
    done = distill(
        tmp_path / "student",
        *("--student", str(tmp_path / "cut"), "--teacher", teacher, "--steps", "20", "--learning-rate", "3e-4"),
    )
    found = done["classification"]
    assert found["labels"] == ["ham", "spam"]
    assert found["measured_on"] == f"107 texts held out of {DATA}"  # 100 different ones
    assert tuned["num_parameters"] == 22_713_986  # the published encoder's 22,713,216, and 2 labels of 384 + 1
    assert tuned["after"]["macro_f1"] > ALL_HAM + 0.3
    assert done["after"]["kl"] < 0.5 * done["before"]["kl"]
    assert done["after"]["macro_f1"] > ALL_HAM + 0.3
    student, [teacher] = found["student"], found["teachers"]
    assert teacher["accuracy"] == pytest.approx(tuned["after"]["accuracy"])
    assert student["num_parameters"] == teacher["num_parameters"] - 4 * 1_774_464
    assert student["latency_p50_ms"] < teacher["latency_p50_ms"]
    assert student["resident_bytes"] < teacher["resident_bytes"]
    assert "exact McNemar" in capsys.readouterr().out
