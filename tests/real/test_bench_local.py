"""A real encoder and its int8 export, timed on the same real texts."""

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distill_eval import cli
from distill_eval.bench.classify import measure_in_turn, open_encoder
from distill_eval.bench.prompt_config import PromptConfig
from distill_eval.bench.prompts import draw

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = PromptConfig(dataset_name="hf", dataset_path="ucirvine/sms_spam", text_column="sms")


@pytest.fixture
def folders(tmp_path):
    """A classifier in float32, and exported in int8."""
    model = AutoModelForSequenceClassification.from_pretrained(ENCODER, num_labels=2)
    model.save_pretrained(tmp_path / "plain")
    AutoTokenizer.from_pretrained(ENCODER).save_pretrained(tmp_path / "plain")
    text = ("--text", "ucirvine/sms_spam", "--text-column", "sms", "--text-samples", "4", "--text-length", "32")
    plain, int8 = str(tmp_path / "plain"), str(tmp_path / "int8")
    assert cli.main(["export", "--model", plain, "--precision", "int8", *text, "--output-dir", int8]) == 0
    return tmp_path


def test_minilm_in_transformers_and_as_int8_in_onnxruntime(folders):
    prompts = draw(TEXTS, AutoTokenizer.from_pretrained(ENCODER), 32, 0)
    texts = [prompt.text for prompt in prompts]
    log, said = folders / "log", []
    options = {"dtype": "auto", "device": "cpu", "log": log}
    with (
        open_encoder(folders / "plain", name="plain", **options) as plain,
        open_encoder(folders / "int8", name="int8", **options) as int8,
    ):
        assert plain.what == "BertForSequenceClassification, logits"
        assert int8.what == "model.onnx on CPUExecutionProvider, logits"
        found = measure_in_turn({"plain": plain, "int8": int8}, texts, [1, 8], 3, say=said.append)
    assert found.ended is None
    assert len(said) == 2 * 3 * 3
    for theirs, ours in zip(found.results["plain"], found.results["int8"], strict=True):
        assert ours.batch_ms.num == theirs.batch_ms.num == 3 * max(8, 32 // ours.batch_size)
        assert ours.texts_per_second == pytest.approx(1000 * ours.batch_size / ours.batch_ms.mean)
        assert ours.speedup.value > 1, "int8 in ONNX Runtime is faster than float32 in transformers, also on few cores"
        assert 0 < ours.tokenize_share < 0.9
