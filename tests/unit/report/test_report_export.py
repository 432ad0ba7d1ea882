"""What `export.md` and the README of an exported folder say."""

import ast
import re
from dataclasses import replace

import pytest

from distill_eval.report.export import files, readme, render
from distill_eval.schema.calibration import Calibration
from distill_eval.schema.export import Agreement, Continuation, ExportRun, Graph, Parity
from distill_eval.schema.model import ModelRef
from distill_eval.schema.retention import Provenance

TEXT = Calibration(
    source="org/wiki", subset="raw", split="test", text_column="page", seed=0, num_samples=8, max_length=128,
    num_tokens=480, digest="a" * 64,
)  # fmt: skip
FOUND = Agreement(
    num_texts=8, shortest=16, longest=128, num_positions=480, max_abs_diff=5.63, mean_abs_diff=0.296,
    max_relative_diff=0.148, top1_agreement=0.9313, num_ties=1, mean_kl=0.0097,
)  # fmt: skip
RUN = ExportRun(
    model=ModelRef(name="org/small"),
    model_commit="355c4e5c",
    architecture="LlamaForCausalLM",
    kind="causal",
    dtype="bfloat16",
    num_parameters=134_515_008,
    original_size_bytes=269_100_000,
    original_embedding_bytes=56_600_000,
    format="onnx",
    precision="int4",
    exporter="onnxruntime-genai 0.18.0",
    execution_provider="cpu",
    algorithm="k-quant-last",
    block_size=32,
    accuracy_level=4,
    graph=Graph(size_bytes=134_550_000, embedding_bytes=28_300_000, num_weights_by_bits={"4": 150, "8": 1}),
    seconds=12.34,
    parity=Parity(
        text=TEXT,
        whole=FOUND,
        padded=FOUND,
        cached=replace(FOUND, num_positions=126),
        greedy=(
            Continuation(num_prompt_tokens=64, num_tokens=64, first_difference=None, original="same", exported="same"),
            Continuation(num_prompt_tokens=1, num_tokens=24, first_difference=6, original="that", exported="this"),
        ),
        reasons={},
    ),
    provenance=Provenance(command="distill-eval export", versions={"torch": "2.13.0"}, hardware="cpu", git_commit=None),
)
CLASSIFIER = replace(
    RUN,
    kind="classifier",
    algorithm="dynamic",
    block_size=None,
    accuracy_level=None,
    parity=replace(RUN.parity, cached=None, greedy=(), reasons={"cached": "it has no cache"}),
)


def test_the_page_says_what_was_saved_and_what_was_lost():
    page = render(RUN)
    assert (
        "> 134.6 MB, 50.0 % of the original. The most likely answer is the original's at 93.1 % of 480 tokens; " in page
    )
    row = next(line for line in page.splitlines() if line.startswith("| all tokens at once"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:] == ["480", "16 to 128", "5.63", "0.296", "0.148", "93.1 %", "1", "0.0097"]
    assert "its embedding and head |  56.6 MB |  28.3 MB |              50.0 %" in page
    assert "| 150 in 4 bit, 1 in 8 bit" in page
    assert "int8 (level 4)" in page
    assert "rounded by k-quant, the head in 8 bit" in page


def test_w8a8_says_which_cpus_it_needs():
    page = render(replace(RUN, precision="int8", algorithm="w8a8", block_size=None, accuracy_level=None))
    assert "a scale per output channel; activations as they come, a scale per token" in page
    assert "VNNI, on an x86 CPU" in page
    assert "VNNI" not in render(RUN)


def test_equal_texts_are_shown_once_and_others_from_where_they_part():
    page = render(RUN)
    assert "Behind 64 tokens of text 1 both write the same 64 tokens:\n\n```\nsame\n```" in page
    assert "Behind 1 token of text 2 token 7 of 24 is the first that differs. The original:\n\n```\nthat\n```" in page
    assert "The exported model:\n\n```\nthis\n```" in page


def test_what_was_not_measured_is_listed_with_its_reason():
    page = render(CLASSIFIER)
    assert "Not measured:\n\n- token by token, from the KV cache: it has no cache" in page
    assert "most likely continuation" not in page
    assert "level" not in page


def test_outputs_that_are_no_choice_are_told_by_their_difference():
    found = replace(FOUND, num_positions=8, top1_agreement=None, num_ties=None, mean_kl=None)
    reasons = {"top1_agreement": "no answer", "mean_kl": "no distribution"}
    page = render(replace(CLASSIFIER, parity=replace(CLASSIFIER.parity, whole=found, padded=found, reasons=reasons)))
    assert "> 134.6 MB, 50.0 % of the original. Its outputs differ by up to 0.148 of the largest, on 8 texts." in page
    row = next(line for line in page.splitlines() if line.startswith("| all tokens at once"))
    assert [cell.strip() for cell in row.strip("|").split("|")][5:] == ["0.148", "-", "-", "-"]
    assert "- same top 1: no answer\n- mean KL (nats): no distribution" in page


def test_hostile_names_and_texts_stay_text():
    hostile = Continuation(
        num_prompt_tokens=1, num_tokens=1, first_difference=0, original="```\n# no <b>", exported="|x|"
    )
    page = render(replace(RUN, model=ModelRef(name="a/<script>|x"), parity=replace(RUN.parity, greedy=(hostile,))))
    assert "<script>" not in page
    assert "````\n```\n# no <b>\n````" in page


NUMBERS = replace(CLASSIFIER, parity=replace(CLASSIFIER.parity, whole=replace(FOUND, top1_agreement=None)))


@pytest.mark.parametrize("run", [RUN, CLASSIFIER, NUMBERS], ids=["causal", "classifier", "regression"])
def test_the_readme_holds_a_program_without_this_package(run):
    [program] = re.findall(r"```python\n(.*?)```", readme(run), flags=re.DOTALL)
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(ast.parse(program))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert imported <= {"onnxruntime_genai", "onnxruntime", "transformers"}
    assert len(program.splitlines()) <= 11
    assert set(files(run)) == {"README.md", "export.md"}
    assert ("argmax" in program) == (run is CLASSIFIER)
