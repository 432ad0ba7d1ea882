"""A real model beside a student cut from it: what is kept of the reference gives the exact divergence within 2 %."""

import json

import numpy as np
from scipy.special import rel_entr

from distill_eval import cli
from distill_eval.calibration import TextSource
from distill_eval.engine.load import find, load
from distill_eval.fidelity.text import cut
from distill_eval.schema.model import ModelRef

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
DATA, SUBSET = "Salesforce/wikitext", "wikitext-2-raw-v1"
NUM = 2


def test_kl_from_what_is_kept_is_the_exact_one_within_two_percent(hub, tmp_path):
    student = tmp_path / "student"
    assert cli.main(["prepare", "--teacher", MODEL, "--drop-layers", "14,16", "--output-dir", str(student)]) == 0
    text = ["--text", DATA, "--text-subset", SUBSET, "--text-samples", str(NUM)]
    command = ["fidelity", "--reference", MODEL, "--candidate", str(student), *text, "--device", "cpu"]
    assert cli.main([*command, "--output-dir", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "fidelity.json").read_text())

    ours, theirs = load(find(ModelRef.parse(MODEL))), load(find(ModelRef.parse(str(student))))
    source = TextSource(DATA, NUM, 512, subset=SUBSET, split="test", seed=None, option="--text")
    exact, same = [], []
    for chunk in cut(source, ours.tokenizer, "second-half", name=MODEL).chunks:
        p, q = (model.logits(chunk.ids[:-1])[256:].double().softmax(-1).numpy() for model in (ours, theirs))
        exact.append(rel_entr(p, q).sum(1))
        same.append(p.argmax(1) == q.argmax(1))
    tokens = found["candidates"][0]["tokens"]
    assert abs(tokens["kl"]["mean"]["value"] / np.mean(exact) - 1) < 0.02
    assert abs(tokens["kl"]["p99"] / np.percentile(exact, 99) - 1) < 0.05
    assert tokens["top1_agreement"]["value"] == np.mean(same)
    assert found["num_scored"] == NUM * 255
    kept = found["kept"]
    assert (kept["top_k"], kept["full_bytes_per_token"]) == (64, 49_152 * 2)
    assert kept["bytes_per_token"] < kept["full_bytes_per_token"] / 50
