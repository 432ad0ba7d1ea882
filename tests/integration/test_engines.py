"""Quantized folders and ONNX folders through the scorers, against their own engine's forward pass."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from fakes.tiny_tasks import write_tasks
from fakes.tiny_variants import save_bitsandbytes, save_onnx, save_original, save_w8a8
from lm_eval.api.instance import Instance
from transformers import AutoModelForCausalLM, AutoTokenizer

from distill_eval.checkpoint import file_digest
from distill_eval.cli import main
from distill_eval.engine import genai
from distill_eval.evaluate.facts import read_facts
from distill_eval.evaluate.harness.engine_lm import EngineLM
from distill_eval.evaluate.harness.lm import SharedPrefixLM
from distill_eval.evaluate.harness.requests import Recorder
from distill_eval.evaluate.models import load, locate
from distill_eval.evaluate.scorer.onnx import OnnxEngine
from distill_eval.schema.model import ModelRef

CONTEXT = "Some questions, with answers. Who is first? The heart. What is the "
OPTIONS = [" bone", " second one", " river", " b", " c"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("variants")
    save_original(root / "plain")
    save_bitsandbytes(root / "plain", root / "int8", "int8")
    save_bitsandbytes(root / "plain", root / "nf4", "nf4")
    save_w8a8(root / "plain", root / "w8a8")
    for precision in ("fp32", "int4"):
        save_onnx(root / "plain", root / f"onnx-{precision}", precision)
        said = {"model": {"name": str(root / "plain"), "revision": None}, "precision": precision}
        (root / f"onnx-{precision}" / "export.json").write_text(json.dumps(said))
    write_tasks(root / "tasks")
    return root


def located(folder):
    return locate(ModelRef(name=str(folder)), file_digest)


def requests(kind="loglikelihood"):
    if kind == "generate_until":
        texts = [CONTEXT, CONTEXT + "sun", "Who"]
        args = [(text, {"until": ["e"], "max_gen_toks": 12}) for text in texts]
    elif kind == "loglikelihood_rolling":
        args = [(CONTEXT * 3,), (CONTEXT,)]
    else:
        args = [(CONTEXT * lead + end, option) for lead in (1, 3) for end in ("", "way") for option in OPTIONS]
    return [Instance(kind, {}, arg, i, metadata=("t", i, 1)) for i, arg in enumerate(args)]


def forward(model, tokenizer):
    """(log-likelihood, is greedy) of each request from the model's own forward pass, alone."""
    found = []
    for request in requests():
        context, whole = (tokenizer.encode(text) for text in (request.args[0], "".join(request.args)))
        targets = torch.tensor(whole[len(tokenizer.encode(request.args[0].rstrip())) :])
        with torch.inference_mode():
            rows = model(torch.tensor([whole[-129:-1]])).logits[0, -len(targets) :].float().log_softmax(-1)
        assert len(context) < len(whole)
        found.append((float(rows.gather(-1, targets[:, None]).sum()), bool((rows.argmax(-1) == targets).all())))
    return found


@pytest.mark.parametrize(
    ("name", "said", "noise"),
    [
        ("int8", "bitsandbytes int8", 0.4),
        ("nf4", "bitsandbytes nf4", 0.05),
        ("w8a8", "compressed-tensors W8A8", 0.4),
    ],
)
def test_a_quantized_folder_is_scored_as_a_tree(place, name, said, noise):
    """Within the noise of its rounding; the facts are those of the original, but for the bytes on disk."""
    model, tokenizer = load(located(place / name), dtype="float32", device="cpu", trust_remote_code=False)
    expected = forward(model, tokenizer)
    plain = forward(AutoModelForCausalLM.from_pretrained(place / "plain"), tokenizer)
    assert [score for score, _ in expected] != pytest.approx([score for score, _ in plain], abs=1e-3), "is quantized"
    lm = SharedPrefixLM(model, tokenizer)
    found = lm.loglikelihood(requests())
    assert lm.plain_reason is None
    assert [score for score, _ in found] == pytest.approx([score for score, _ in expected], abs=noise)
    facts, original = (
        read_facts(located(place / one), dtype="float32", max_length=128, trust_remote_code=False)
        for one in (name, "plain")
    )
    assert (facts.quantization, original.quantization) == (said, None)
    assert facts.num_parameters == original.num_parameters
    assert facts.size_bytes == (place / name / "model.safetensors").stat().st_size < original.size_bytes


def onnx_lm(place, name):
    model = genai.load(place / name)
    return EngineLM(OnnxEngine(model, model.max_length), model.tokenizer)


@pytest.mark.parametrize("kind", ["loglikelihood", "loglikelihood_rolling", "generate_until"])
def test_an_onnx_folder_gives_transformers_numbers(place, kind):
    model, tokenizer = (cls.from_pretrained(place / "plain") for cls in (AutoModelForCausalLM, AutoTokenizer))
    expected = getattr(SharedPrefixLM(model.eval(), tokenizer), kind)(requests(kind))
    lm = onnx_lm(place, "onnx-fp32")
    found = getattr(lm, kind)(requests(kind))
    if kind == "loglikelihood":
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
        found, expected = ([score for score, _ in scores] for scores in (found, expected))
    assert found == (expected if kind == "generate_until" else pytest.approx(expected, abs=1e-3))
    assert lm.plain_reason is None


def test_a_shared_beginning_changes_no_bit_and_a_known_request_is_not_run_again(place):
    lm = onnx_lm(place, "onnx-int4")
    alone = [lm.loglikelihood([request])[0] for request in requests()]
    heard = []
    lm.recorder = Recorder(done={0: (-1.0, True), 3: (-2.0, False)}, on_responses=heard.append)
    found = lm.loglikelihood(requests())
    known = {0: (-1.0, True), 3: (-2.0, False)}
    assert found == [known.get(index, score) for index, score in enumerate(alone)]
    assert sorted(index for scores in heard for index in scores) == [i for i in range(len(alone)) if i not in known]


def right(place, name):
    """Whether each document of tiny_mc was right, by the samples that were written."""
    (file,) = (place / "out").glob(f"samples-*-{name}-tiny_mc.jsonl")
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    return [next(one["value"] for one in sample["metrics"] if one["metric"] == "acc_norm") for sample in samples]


def check_parity(place, made, report):
    """The fp32 export is the unquantized model of the int4 one: it says what the engine alone does."""
    found = {(Path(one["student_ref"]).name, one["task"]): one for one in made["parity"]}
    assert {name for name, _ in found} == {"onnx-fp32", "onnx-int4"}
    one = found["onnx-int4", "tiny_mc"]
    assert Path(one["unquantized_ref"]).name == "onnx-fp32"
    plain, moved, packed = (right(place, name)[:20] for name in ("plain", "onnx-fp32", "onnx-int4"))
    assert one["num_docs"] == 20
    assert one["metric"] == "acc_norm"
    assert one["engine_part"]["value"] == pytest.approx((sum(moved) - sum(plain)) / 20)
    assert one["quantization_part"]["value"] == pytest.approx((sum(packed) - sum(moved)) / 20)
    assert one["num_engine_flips"] == sum(a != b for a, b in zip(plain, moved, strict=True)) == 0
    assert one["num_quantization_flips"] == sum(a != b for a, b in zip(moved, packed, strict=True))
    assert "## Engine or quantization" in report


def test_one_call_makes_the_whole_table(place, capsys):
    """Each variant on its own engine; the documents are paired, and the engines are stated."""
    names = ["plain", "w8a8", "onnx-fp32", "onnx-int4"]
    words = [
        "compare",
        f"--teacher={place / 'plain'}",
        f"--student={','.join(str(place / name) for name in names[1:])}",
        "--tasks=tiny_mc,tiny_gen",
        f"--include-path={place / 'tasks'}",
        f"--output-dir={place / 'out'}",
        "--parity-docs=20",
    ]
    assert main(words) == 0, capsys.readouterr().err
    made = json.loads((place / "out" / "retention.json").read_text())
    assert [student["engine"] for student in made["students"]] == ["hf", "onnx", "onnx"]
    assert made["students"][0]["num_parameters"] == made["teacher"]["num_parameters"]
    entries = [e for e in made["entries"] if e["student_ref"].endswith("onnx-fp32") and e["primary"]]
    assert entries
    assert all(entry["flips"]["num_harmful"] == entry["flips"]["num_beneficial"] == 0 for entry in entries)
    assert all(entry["num_pairs"] == entry["num_docs_total"] for entry in entries)
    report = (place / "out" / "report.md").read_text()
    assert "| onnx " in report
    assert "compressed-tensors W8A8" in report
    assert "part of the difference may be the engine's" in report
    check_parity(place, made, report)


def test_parity_takes_few_documents_and_never_ends_a_comparison(place, tmp_path, capsys):
    """Half of the documents, and of those --parity-docs; what cannot be run is said in the student's entry."""
    shutil.copytree(place / "onnx-fp32", tmp_path / "lost")
    said = {"model": {"name": str(tmp_path / "nobody"), "revision": None}, "precision": "fp32"}
    (tmp_path / "lost" / "export.json").write_text(json.dumps(said))
    words = [
        "compare",
        f"--teacher={place / 'plain'}",
        f"--student={place / 'onnx-fp32'},{tmp_path / 'lost'}",
        "--tasks=tiny_mc",
        f"--include-path={place / 'tasks'}",
        f"--output-dir={tmp_path / 'out'}",
        "--limit=0.5",
        "--parity-docs=7",
    ]
    assert main(words) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "out" / "retention.json").read_text())
    assert found["entries"][0]["num_pairs"] == 10
    known, lost = found["parity"]
    assert (known["num_docs"], known["reason"]) == (7, None)
    assert Path(lost["student_ref"]).name == "lost"
    assert lost["reason"].startswith("the unquantized model could not be run: model ")
    assert "7 documents a task" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--parity-model=a,b"], "--parity-model names 2 models and --student 1 models: expected one for all"),
        (["--engine=onnx"], "plain has no genai_config.json, so --engine onnx cannot run it"),
        (["--engine=tensorrt"], "unknown --engine 'tensorrt'. Known: auto, hf, onnx, vllm"),
        (["--engine=hf,hf"], "--engine names 2 engines and --student 1 models"),
        (["--teacher-engine=onnx"], "plain has no genai_config.json"),
    ],
)
def test_what_no_engine_runs_is_refused_before_any_work(place, options, said, capsys):
    words = ["compare", f"--teacher={place / 'plain'}", f"--student={place / 'plain'}", "--tasks=tiny_mc"]
    assert main([*words, f"--include-path={place / 'tasks'}", f"--output-dir={place / 'no'}", *options]) == 2
    assert said in capsys.readouterr().err
