"""`export --exporter optimum` through a command of another environment: its graph, the gate behind it, its failures."""

import shutil
from functools import partial
from pathlib import Path

import pytest
from fakes import optimum_cli, tiny_classifiers
from fakes.tiny_families import CONFIGS, save

from distill_eval import cli
from distill_eval.engine import genai, hf
from distill_eval.errors import ModelError, UsageError
from distill_eval.export import run as stage
from distill_eval.export.config import ExportConfig
from distill_eval.report import export as report

run = partial(stage.run, argv=["export"], describe=report.files)


def save_llama(folder, seed=0):
    """Trained, as it were, with another `rope_theta` than transformers 4 takes when it finds none."""
    config = CONFIGS["llama"]()
    config.update(
        {"head_dim": 16, "num_hidden_layers": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}
    )
    return save(config, folder, seed=seed)


def save_classifier(folder, seed=0):
    return tiny_classifiers.save(folder, tiny_classifiers.distilbert(1), labels=list(tiny_classifiers.NAMES), seed=seed)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    save_llama(root / "llama")
    save_classifier(root / "classifier")
    save("gpt-neox", root / "gpt-neox")
    lines = [f"the quick brown fox {number} jumps over the lazy dog and counts its bones" for number in range(40)]
    (root / "text.txt").write_text("\n".join(lines))
    tiny_classifiers.write_rows(root / "rows.jsonl", tiny_classifiers.make_rows(30))
    return root


def settings(models, name):
    text = "rows.jsonl" if name == "classifier" else "text.txt"
    return {"model": str(models / name), "text": str(models / text), "text_samples": 5, "text_length": 40}


@pytest.fixture(scope="module")
def llama(models, tmp_path_factory):
    """The folder of an export, and its record; the command runs beside variables that point to our packages."""
    root = tmp_path_factory.mktemp("optimum")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(root))
        patch.setenv("VIRTUAL_ENV", str(root))
        command = optimum_cli.install(root)
        options = settings(models, "llama") | {"exporter": "optimum", "optimum_cli": command}
        return root / "out", run(ExportConfig(output_dir=root / "out", **options), say=str)


def export(models, name, folder, *, fault=None, replay=None, say=str, **options):
    command = optimum_cli.install(folder, fault=fault, replay=replay and str(replay))
    options = settings(models, name) | {"exporter": "optimum", "optimum_cli": command} | options
    return run(ExportConfig(output_dir=folder / "out", **options), say=say)


def test_the_graph_is_the_same_model_at_once_in_batches_and_from_the_cache(llama):
    done = llama[1]
    for found in (done.parity.whole, done.parity.padded, done.parity.cached):
        assert found.max_relative_diff < 1e-5
        assert found.top1_agreement == 1
    assert [one.first_difference for one in done.parity.greedy] == [None, None]
    assert done.exporter == "optimum 2.1.0, transformers 4.57.6"
    assert (done.algorithm, done.block_size, done.accuracy_level) == (None, None, None)
    assert done.graph.num_weights_by_bits == {"32": 2 * 7 + 1}
    assert done.graph.embedding_bytes == done.original_embedding_bytes == 2 * 260 * 32 * 4


def test_the_folder_is_run_by_the_engine_that_runs_ours(models, llama):
    exported, original = genai.load(llama[0]), hf.load(models / "llama")
    ids = [256, 10, 257, 20, 257, 30, 40]
    rows = next(exported.walk(16).to(ids, first=0))
    assert (rows - original.logits(ids)).abs().max() < 1e-4
    again = next(exported.walk(16).to(ids[:4], first=2))
    assert (again - original.logits(ids)[2:4]).abs().max() < 1e-4
    assert exported.greedy(ids, 7) == original.greedy(ids, 7)


def test_the_folder_is_the_originals_but_for_graph_and_record(models, llama):
    names = {path.name for path in llama[0].iterdir()}
    original = {path.name for path in (models / "llama").iterdir()} - {"model.safetensors"}
    made = {"model.onnx", "genai_config.json", "export.json", "export.md", "README.md"}
    assert names == original | made
    assert (llama[0] / "config.json").read_bytes() == (models / "llama" / "config.json").read_bytes()
    assert "import onnxruntime_genai" in (llama[0] / "README.md").read_text()
    assert {path.name for path in llama[0].parent.iterdir()} == {"out", "optimum-cli"}


def test_a_graph_of_another_model_is_refused_and_leaves_nothing(models, llama, tmp_path):
    save_llama(tmp_path / "llama", seed=1)
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "text-generation-with-past").symlink_to(llama[0])
    with pytest.raises(ModelError, match="the exported model is not the original: each text at once, logits differ by"):
        export(models, "llama", tmp_path, replay=tmp_path / "graphs", model=str(tmp_path / "llama"))
    assert {path.name for path in tmp_path.iterdir()} == {"llama", "graphs", "optimum-cli"}


@pytest.fixture(scope="module")
def graphs(models, tmp_path_factory):
    """What the command gives for the classifier, traced here, where transformers is loaded already."""
    root = tmp_path_factory.mktemp("graphs")
    shutil.copytree(models / "classifier", root / "model", ignore=shutil.ignore_patterns("tokenizer*"))
    optimum_cli.write(root / "model", root / "text-classification", "text-classification")
    return root


def test_a_classifier_is_the_same_model(models, graphs, tmp_path):
    done = export(models, "classifier", tmp_path, replay=graphs)
    for found in (done.parity.whole, done.parity.padded):
        assert found.max_relative_diff < 1e-5
        assert found.top1_agreement == 1
    assert done.graph.embedding_bytes == done.original_embedding_bytes == len(tiny_classifiers.VOCABULARY) * 32 * 4
    assert (tmp_path / "out" / "config.json").read_bytes() == (models / "classifier" / "config.json").read_bytes()


def test_a_classifier_is_quantized_when_it_agrees_in_float32(models, graphs, tmp_path):
    said = []
    done = export(models, "classifier", tmp_path, replay=graphs, precision="int8", say=said.append)
    assert "parity: the exported model agrees with the original in float32" in said
    assert done.algorithm == "dynamic"
    assert done.exporter == "optimum 2.1.0, transformers 4.57.6"
    assert set(done.graph.num_weights_by_bits) == {"8"}
    assert 0 < done.parity.whole.max_abs_diff < 0.5


def test_a_wrong_graph_is_not_billed_to_the_rounding(models, graphs, tmp_path):
    save_classifier(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match="the exported model is not the original"):
        export(models, "classifier", tmp_path, replay=graphs, precision="int8", model=str(tmp_path / "other"))
    assert {path.name for path in tmp_path.iterdir()} == {"other", "optimum-cli"}


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        (
            "gpt-neox",
            None,
            'ended with code 1. Its last lines: "ValueError: Trying to export a gpt_neox model, that is',
        ),
        ("llama", "killed", "was ended by signal 9, as happens when memory runs out"),
        ("llama", "nothing", "wrote no model.onnx"),
    ],
)
def test_its_failure_is_said_in_its_words_and_its_log_is_kept(models, tmp_path, name, fault, message):
    with pytest.raises(ModelError, match=r"^optimum-cli export onnx ") as raised:
        export(models, name, tmp_path, fault=fault)
    assert message in str(raised.value)
    assert str(raised.value).endswith(f"Log: {tmp_path / 'out.optimum.log'}")
    assert {path.name for path in tmp_path.iterdir()} == {"optimum-cli", "out.optimum.log"}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no-optimum", "optimum is not installed in its environment. Type: python3 -m venv ENV"),
        ("no-onnx", 'optimum 2.1.0 there cannot export to ONNX ("optimum-cli export: error: '),
    ],
)
def test_an_environment_that_lacks_something_is_refused_with_what_to_type(models, tmp_path, fault, message):
    with pytest.raises(UsageError, match=r"^--optimum-cli ") as raised:
        export(models, "llama", tmp_path, fault=fault)
    assert message in str(raised.value)
    assert "pip install 'optimum-onnx[onnxruntime]' accelerate" in str(raised.value)
    assert {path.name for path in tmp_path.iterdir()} == {"optimum-cli"}


def test_no_such_command_and_another_command_are_told_apart(models, tmp_path):
    with pytest.raises(UsageError, match=r"^--optimum-cli /no/such: no such command\. Expected that of another"):
        export(models, "llama", tmp_path, optimum_cli=Path("/no/such"))
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho I am another\n")
    other.chmod(0o755)
    with pytest.raises(UsageError, match=r'is not optimum-cli: .* code 0 .* its last lines: "I am another"'):
        export(models, "llama", tmp_path, optimum_cli=other)
    other.write_text("no program\n")
    with pytest.raises(UsageError, match=r"^--optimum-cli .* cannot be run: OSError: "):
        export(models, "llama", tmp_path, optimum_cli=other)


def test_a_causal_language_model_in_int8_is_refused(models, tmp_path):
    with pytest.raises(UsageError, match=r"--exporter optimum --precision int8: .* is a LlamaForCausalLM, which it"):
        export(models, "llama", tmp_path, precision="int8")


def test_the_command_line_reaches_it(models, tmp_path, capsys):
    options = ["--exporter=optimum", "--optimum-cli=/no/such", f"--text={models / 'text.txt'}"]
    code = cli.main(["export", f"--model={models / 'llama'}", *options, f"--output-dir={tmp_path / 'out'}"])
    assert code == 2
    assert "--optimum-cli /no/such: no such command" in capsys.readouterr().err
