"""Real models as ONNX, run by the program of their README in a process that knows nothing of this package."""

import json
import re
import subprocess
import sys

import onnxruntime_genai
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distill_eval import cli

TEXT = ("--text", "EleutherAI/wikitext_document_level", "--text-subset", "wikitext-2-raw-v1", "--text-split", "test")
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def export(model, output, *options):
    words = ["export", "--model", str(model), *TEXT, "--text-column", "page", "--output-dir", str(output), *options]
    assert cli.main(words) == 0
    return json.loads((output / "export.json").read_text())


def run_readme(folder):
    """What the program of the folder's README prints, run there, with nothing but installed packages on its path."""
    [program] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    program += "\nimport sys\nassert not any(name.startswith('distill_eval') for name in sys.modules)\n"
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_smollm2_in_fp32_is_the_same_model_and_runs_alone(tmp_path):
    done = export(MODEL, tmp_path / "out", "--text-samples", "4", "--text-length", "64")
    for way in ("whole", "padded", "cached"):
        found = done["parity"][way]
        assert found["max_relative_diff"] < 1e-4
        assert found["num_positions"] == round(found["top1_agreement"] * found["num_positions"]) + found["num_ties"]
        assert found["mean_kl"] < 1e-8
    assert done["num_parameters"] == 134_515_008
    assert 0 <= done["graph"]["size_bytes"] - 4 * 134_515_008 < 3e6  # tied weights are there once
    assert run_readme(tmp_path / "out").startswith("The capital of France is Paris.")


def test_smollm2_in_int8_and_int4_reports_what_it_lost(tmp_path):
    few = ("--text-samples", "4", "--text-length", "32")
    int8 = export(MODEL, tmp_path / "int8", "--precision", "int8", *few)
    int4 = export(MODEL, tmp_path / "int4", "--precision", "int4", *few)
    assert int8["graph"]["size_bytes"] < 0.55 * int8["original_size_bytes"]
    assert int4["graph"]["size_bytes"] < 0.42 * int4["original_size_bytes"]
    assert int8["graph"]["num_weights_by_bits"] == {"8": 151}
    assert int4["graph"]["num_weights_by_bits"] == {"4": 151}
    lost8, lost4 = int8["parity"]["whole"], int4["parity"]["whole"]
    assert 0 < lost8["mean_kl"] < 0.05
    assert lost8["mean_kl"] < lost4["mean_kl"] < 2
    assert lost8["top1_agreement"] > 0.85 > lost4["top1_agreement"]
    assert run_readme(tmp_path / "int8").startswith("The capital of France is")
    theirs = onnxruntime_genai.Tokenizer(onnxruntime_genai.Model(str(tmp_path / "int4")))
    ours = AutoTokenizer.from_pretrained(MODEL)
    for text in ("The capital of France is Paris.", "  two  spaces\n\nand 12345 lines", "naïve café, 東京"):
        assert theirs.encode(text).tolist() == ours(text)["input_ids"]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_minilm_classifier_runs_in_plain_onnxruntime(tmp_path, precision):
    model = AutoModelForSequenceClassification.from_pretrained(ENCODER, num_labels=2)
    model.config.id2label = {0: "ham", 1: "spam"}
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(ENCODER).save_pretrained(tmp_path / "model")
    done = export(tmp_path / "model", tmp_path / "out", "--precision", precision, "--text-length", "64")
    bound = {"fp32": 1e-4, "int8": 0.2}[precision]
    assert done["parity"]["whole"]["max_relative_diff"] < bound
    assert done["parity"]["padded"]["max_relative_diff"] < bound
    assert done["graph"]["size_bytes"] < {"fp32": 1.02, "int8": 0.27}[precision] * 4 * done["num_parameters"]
    assert re.fullmatch(r"\['(ham|spam)', '(ham|spam)'\]\n", run_readme(tmp_path / "out"))
