"""The whole `export` stage on tiny models: the same model in fp32, what is lost below, and all that is refused."""

import json
import shutil
import sys
from functools import partial

import pytest
import torch
from fakes import tiny_classifiers
from fakes.tiny_families import CONFIGS, save

from distill_eval import cli
from distill_eval.engine import genai, guess, hf
from distill_eval.errors import ModelError, StoreError, UsageError
from distill_eval.export import run as stage
from distill_eval.export.config import ExportConfig
from distill_eval.export.parity import cut
from distill_eval.record import from_json
from distill_eval.report import export as report
from distill_eval.schema.export import ExportRun

run = partial(stage.run, argv=["export"], say=lambda line: None, describe=report.files)


def tiny(family):
    config = CONFIGS[family]()
    config.head_dim = 16  # the least that ONNX Runtime's attention computes
    return config


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for family in ("llama", "llama-tied", "qwen2", "granite"):
        save(tiny(family), root / family)
    tiny_classifiers.save(root / "classifier", tiny_classifiers.distilbert(2), labels=list(tiny_classifiers.NAMES))
    lines = [f"the quick brown fox {number} jumps over the lazy dog and counts its bones" for number in range(40)]
    (root / "text.txt").write_text("\n".join(lines))
    tiny_classifiers.write_rows(root / "rows.jsonl", tiny_classifiers.make_rows(30))
    return root


def export(models, name, output, **options):
    text = "rows.jsonl" if name == "classifier" else "text.txt"
    settings = {"text_samples": 5, "text_length": 40, "text": str(models / text)} | options
    return run(ExportConfig(model=str(models / name), output_dir=output, **settings))


def test_fp32_is_the_same_model_at_once_in_batches_and_from_the_cache(models, tmp_path):
    done = export(models, "llama", tmp_path / "out")
    parity = done.parity
    assert parity.whole.num_texts == 5
    assert (parity.whole.shortest, parity.whole.longest) == (5, 40)
    assert parity.whole.num_positions == 40 + 20 + 10 + 5 + 40
    assert parity.cached.num_positions == 16 + 16 + 9 + 4 + 16
    for found in (parity.whole, parity.padded, parity.cached):
        assert found.max_relative_diff < 1e-4
        assert found.top1_agreement == 1
        assert found.mean_kl < 1e-6
    assert [(one.num_tokens, one.first_difference) for one in parity.greedy] == [(64, None), (64, None)]
    assert done.graph.num_weights_by_bits == {"32": 31}  # qkv, o, gate, up, down of 6 layers, and the head
    assert done.original_embedding_bytes == done.graph.embedding_bytes == 2 * 260 * 32 * 4
    assert set(done.provenance.versions) > {"onnxruntime", "onnxruntime-genai", "onnx", "torch"}
    assert from_json(ExportRun, (tmp_path / "out" / "export.json").read_text(), source="export.json") == done


def test_the_folder_gives_the_originals_logits_of_every_token_through_the_engine(models, tmp_path):
    export(models, "llama-tied", tmp_path / "out")
    assert guess(tmp_path / "out") == "onnx"
    exported, original = genai.load(tmp_path / "out"), hf.load(models / "llama-tied")
    ids = [256, 10, 257, 20, 257, 257, 30, 40]  # the end of text, which pads too, in the middle
    torch.testing.assert_close(exported.logits(ids), original.logits(ids), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exported.logits_stepwise(ids, 8), original.logits(ids), rtol=1e-4, atol=1e-4)
    long, short = exported.logits_padded([ids, [256, 10, 257]])
    torch.testing.assert_close(long, original.logits(ids), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(short, original.logits([256, 10]), rtol=1e-4, atol=1e-4)
    assert exported.greedy(ids, 7) == original.greedy(ids, 7)
    assert exported.greedy(ids, 0) == []
    assert (exported.vocab_size, exported.max_length) == (260, 128)
    assert exported.tokenizer.decode(exported.tokenizer("a b")["input_ids"]) == "a b"


@pytest.mark.parametrize("name", ["llama", "llama-tied"])
@pytest.mark.parametrize(("precision", "bits"), [("int8", 8), ("int4", 4)])
def test_lower_precision_reports_what_it_lost(models, tmp_path, name, precision, bits):
    done = export(models, name, tmp_path / "out", precision=precision)
    assert done.graph.num_weights_by_bits == {str(bits): 31}  # the head, too
    assert (done.algorithm, done.block_size, done.accuracy_level) == ("rtn", 16, 4)
    found = done.parity.whole
    assert found.max_abs_diff > 0.01
    assert 0 < found.mean_kl < 1
    scale = 4 * 260 * 2
    table = 260 * 32 * bits // 8 + scale
    apart = 260 * 32 * 4 if precision == "int8" else table  # the builder has no 8-bit embedding but the head's
    assert done.graph.embedding_bytes == (table if name == "llama-tied" else table + apart)


@pytest.mark.parametrize("family", ["llama", "llama-tied", "qwen2", "granite"])
def test_w8a8_is_near_the_original_in_every_way_that_it_is_run(models, tmp_path, family):
    done = export(models, family, tmp_path / "out", precision="int8", int8_algorithm="w8a8")
    assert (done.precision, done.algorithm, done.block_size, done.accuracy_level) == ("int8", "w8a8", None, None)
    assert done.graph.num_weights_by_bits == {"8": 31}
    table = 260 * (32 + 4)  # a scale for each token
    assert done.graph.embedding_bytes == (table if family == "llama-tied" else 2 * table)
    for found in (done.parity.whole, done.parity.padded, done.parity.cached):
        assert 0 < found.max_relative_diff < 0.2
        assert 0 < found.mean_kl < 0.005
    assert "activations as they come, a scale per token" in (tmp_path / "out" / "export.md").read_text()


def test_w8a8_takes_widths_that_no_block_divides(models, tmp_path):
    config = tiny("llama")
    config.hidden_size = 40
    save(config, tmp_path / "llama")
    text = str(models / "text.txt")
    done = export(tmp_path, "llama", tmp_path / "out", precision="int8", int8_algorithm="w8a8", text=text)
    assert done.parity.whole.mean_kl < 0.005


def test_k_quant_is_another_rounding(models, tmp_path):
    config = tiny("llama")
    config.intermediate_size = 64
    save(config, tmp_path / "llama")
    options = {"precision": "int4", "text": str(models / "text.txt")}
    plain = export(tmp_path, "llama", tmp_path / "plain", **options)
    mixed = export(tmp_path, "llama", tmp_path / "mixed", int4_algorithm="k-quant-mixed", **options)
    assert set(mixed.graph.num_weights_by_bits) == {"4", "8"}
    assert mixed.parity.whole.mean_kl < plain.parity.whole.mean_kl


def test_a_classifier_is_exported_with_dynamic_axes(models, tmp_path):
    import onnxruntime

    done = export(models, "classifier", tmp_path / "out", text_samples=8)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert {value.name: value.shape for value in session.get_inputs()} == {
        "input_ids": ["batch", "sequence"],
        "attention_mask": ["batch", "sequence"],
    }
    assert session.get_outputs()[0].shape == ["batch", 3]
    parity = done.parity
    for found in (parity.whole, parity.padded):
        assert found.num_positions == 8
        assert found.shortest < found.longest
        assert found.max_relative_diff < 1e-5
        assert found.top1_agreement == 1
    assert parity.cached is None
    assert parity.greedy == ()
    assert set(parity.reasons) == {"cached", "greedy"}
    assert done.graph.embedding_bytes == done.original_embedding_bytes == len(tiny_classifiers.VOCABULARY) * 32 * 4


def test_a_classifier_in_int8_reports_what_it_lost(models, tmp_path):
    done = export(models, "classifier", tmp_path / "out", precision="int8")
    assert (done.algorithm, done.block_size, done.accuracy_level) == ("dynamic", None, None)
    assert set(done.graph.num_weights_by_bits) == {"8"}
    assert 0 < done.parity.whole.max_abs_diff < 0.5


@pytest.mark.parametrize(
    ("labels", "changes", "why"),
    [
        (["score"], {}, "the model gives numbers (regression)"),
        (tiny_classifiers.NAMES, {"problem_type": "multi_label_classification"}, "(multi-label)"),
    ],
    ids=["regression", "multi-label"],
)
def test_a_classifier_that_makes_no_choice_is_judged_by_its_outputs(models, tmp_path, capsys, labels, changes, why):
    config = tiny_classifiers.distilbert(1)
    config.update(changes)
    tiny_classifiers.save(tmp_path / "model", config, labels=list(labels))
    options = ["--text-length=40", f"--text={models / 'rows.jsonl'}", f"--output-dir={tmp_path / 'out'}"]
    assert cli.main(["export", f"--model={tmp_path / 'model'}", *options]) == 0
    parity = from_json(ExportRun, (tmp_path / "out" / "export.json").read_text(), source="export.json").parity
    for found in (parity.whole, parity.padded):
        assert (found.top1_agreement, found.num_ties, found.mean_kl) == (None, None, None)
        assert found.max_relative_diff < 1e-5
    assert all(why in parity.reasons[name] for name in ("top1_agreement", "num_ties", "mean_kl"))
    printed = capsys.readouterr().out
    assert "outputs differ by up to " in printed
    assert "same top 1" not in printed


def test_a_classifier_whose_tokenizer_cannot_pad_is_refused_before_its_weights_are_read(models, tmp_path):
    shutil.copytree(models / "classifier", tmp_path / "classifier")
    path = tmp_path / "classifier" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": None}))
    (tmp_path / "classifier" / "model.safetensors").write_bytes(b"")
    message = refused(tmp_path, tmp_path, ModelError, "classifier", text=str(models / "rows.jsonl"))
    assert "has no pad_token: " in message
    assert "Set pad_token in its tokenizer_config.json" in message


def test_a_short_context_takes_a_shorter_continuation(models, tmp_path):
    config = tiny("llama")
    config.max_position_embeddings = 64
    save(config, tmp_path / "llama")
    done = export(tmp_path, "llama", tmp_path / "out", text_samples=2, text=str(models / "text.txt"))
    found = [(one.num_prompt_tokens, one.num_tokens, one.first_difference) for one in done.parity.greedy]
    assert found == [(20, 44, None), (10, 54, None)]


def test_the_folder_holds_what_is_needed_to_run_it_and_no_traces(models, tmp_path):
    export(models, "llama", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "generation_config.json"}
    assert names >= {"README.md", "export.md", "export.json", "config.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert str(tmp_path).encode() not in (tmp_path / "out" / "model.onnx").read_bytes()


def test_an_export_that_is_not_the_same_model_fails_and_leaves_nothing(models, tmp_path):
    """A window of attention that the builder makes a token too narrow."""
    config = tiny("mistral")
    save(config, tmp_path / "mistral")
    with pytest.raises(ModelError, match="the exported model is not the original: each text at once, logits differ by"):
        export(tmp_path, "mistral", tmp_path / "out", text=str(models / "text.txt"))
    assert [path.name for path in tmp_path.iterdir()] == ["mistral"]


def refused(models, tmp_path, error, name="llama", **options):
    """The message with which an export is refused; nothing is left behind."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error) as raised:
        export(models, name, tmp_path / "out", **options)
    assert sorted(tmp_path.rglob("*")) == before
    return str(raised.value)


def test_an_output_folder_in_use_is_refused_and_kept(models, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    assert "exists and is not an empty folder" in refused(models, tmp_path, UsageError)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "llama",
            {"precision": "int4", "block_size": 64},
            "--block-size 64 does not divide the widths 32 and 48 and 64",
        ),
        ("llama", {"text_length": 129}, "--text-length 129: the model takes 128 tokens"),
        ("llama", {"text_samples": 500}, "--text-samples"),
        (
            "classifier",
            {"precision": "int4"},
            "its 4-bit products are made for decoding. Type --precision int8 or fp32",
        ),
        ("classifier", {"precision": "int8", "block_size": 16}, "--block-size 16: "),
        (
            "classifier",
            {"precision": "int8", "int8_algorithm": "weight-only"},
            "--int8-algorithm weight-only: ",
        ),
    ],
)
def test_options_that_do_not_fit_the_model_are_refused(models, tmp_path, name, options, message):
    assert message in refused(models, tmp_path, UsageError, name, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["LlamaForCausalLN"]}, "is a LlamaForCausalLN: expected a causal language model"),
        ({"head_dim": 8}, "has heads of 8"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "is quantized already (bitsandbytes)"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "is quantized already (gptq)"),
    ],
)
def test_a_model_that_cannot_be_exported_is_refused_before_its_weights_are_read(models, tmp_path, changes, message):
    shutil.copytree(models / "llama", tmp_path / "llama")
    path = tmp_path / "llama" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (tmp_path / "llama" / "model.safetensors").write_bytes(b"")
    text = str(models / "text.txt")
    assert message in refused(tmp_path, tmp_path, ModelError, text=text)


def test_an_architecture_that_the_builder_does_not_know_is_refused_with_those_that_it_does(models, tmp_path):
    save("gpt2", tmp_path / "gpt2")
    message = refused(tmp_path, tmp_path, ModelError, "gpt2", text=str(models / "text.txt"))
    assert "'GPT2LMHeadModel'" in message
    assert "LlamaForCausalLM" in message


def test_a_full_disk_is_noticed_before_the_work(models, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert "no space: --precision fp32 needs up to" in refused(models, tmp_path, StoreError)


@pytest.mark.parametrize("name", ["llama", "classifier"])
def test_a_missing_package_is_named_with_its_pip_install(models, tmp_path, monkeypatch, name):
    monkeypatch.setattr(stage, "find_spec", lambda module: None if module.startswith("onnxruntime") else object())
    message = refused(models, tmp_path, UsageError, name)
    assert "onnxruntime" in message
    assert "pip install 'distill-eval[onnx]'" in message


def test_the_engine_says_what_is_missing(models, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match=r"has no genai_config\.json"):
        genai.load(models / "llama")
    monkeypatch.setitem(sys.modules, "onnxruntime_genai", None)
    with pytest.raises(ModelError, match=r"pip install 'distill-eval\[onnx\]'"):
        genai.load(models / "llama")


def test_too_long_a_text_is_said_by_the_engine(models, tmp_path):
    export(models, "llama", tmp_path / "out")
    with pytest.raises(ModelError, match=r"^the model cannot be run by ONNX Runtime GenAI"):
        genai.load(tmp_path / "out", name="the model").logits([1] * 129)


def test_texts_are_cut_to_several_lengths(models):
    from distill_eval.calibration import Samples

    assert [len(text) for text in cut(Samples(None, [torch.arange(32)] * 5))] == [32, 16, 8, 4, 32]


def test_the_command_says_what_was_kept(models, tmp_path, capsys):
    options = [
        "--text-samples=4",
        "--text-length=16",
        f"--text={models / 'text.txt'}",
        f"--output-dir={tmp_path / 'out'}",
    ]
    assert cli.main(["export", f"--model={models / 'llama'}", *options]) == 0
    printed = capsys.readouterr().out
    assert "same top 1 at 100.0% of 30, mean KL" in printed
    assert f"Exported: {tmp_path / 'out'}" in printed
