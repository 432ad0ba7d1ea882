"""What a step takes: bounds from parameters and bytes, and times that an earlier run measured."""

import tomllib
from dataclasses import replace

import pytest
import torch
from fakes.tiny_variants import CONFIG, save_original

from distill_eval.pipeline.chain import planned_sizes
from distill_eval.pipeline.earlier import Earlier
from distill_eval.pipeline.estimate import disk, memory, sizes
from distill_eval.pipeline.plan import steps
from distill_eval.recipe import resolve
from distill_eval.record import to_json
from distill_eval.schema.recipe import RecipeRun, StageRun
from distill_eval.schema.retention import Provenance

RECIPE = """
teacher = "{teacher}"
output_dir = "{root}/out"
baseline = true
[data]
data = "{root}/text.jsonl"
[prepare]
keep_layers = "0,2"
[distill.training]
keep_checkpoints = 2
[[quantize]]
name = "w8a8"
scheme = "W8A8"
[[export]]
name = "onnx"
precision = "int4"
[compare.evaluation]
tasks = ["x"]
"""
EMBEDDINGS = 2 * 260 * 128  # untied
LAYER = 128 * 128 * 2 + 128 * 64 * 2 + 3 * 128 * 192 + 2 * 128  # q and o, k and v, the feed-forward's three, two norms
THREE, TWO = EMBEDDINGS + 3 * LAYER + 128, EMBEDDINGS + 2 * LAYER + 128


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("estimate")
    save_original(root / "teacher").to(torch.bfloat16).save_pretrained(root / "teacher")
    return root


def read(place, *change):
    text = RECIPE.format(teacher=place / "teacher", root=place)
    return resolve(tomllib.loads(text.replace(*change) if change else text), source="a.toml")


def test_bytes_are_parameters_times_what_each_takes(place):
    recipe = read(place)
    planned = planned_sizes(recipe)
    assert planned == (TWO,)
    known = sizes(recipe, planned)
    assert (known[recipe.teacher].num_parameters, known[recipe.teacher].num_bytes) == (THREE, 2 * THREE)
    found = {step.name: (memory(step, known).num_bytes, disk(step, known).num_bytes) for step in steps(recipe)}
    assert found == {
        "prepare": (2 * THREE, 2 * TWO),
        "distill": (16 * TWO + 2 * THREE, 2 * TWO + 3 * 12 * TWO),
        "baseline": (16 * TWO, 2 * TWO + 3 * 12 * TWO),
        "quantize w8a8": (4 * TWO, 2 * TWO),
        "export onnx": (4 * TWO, TWO),
        "compare": (2 * THREE, None),
    }


def test_what_is_not_known_is_said_with_its_reason(place):
    recipe = read(place)
    [prepare, *_] = steps(recipe)
    assert str(disk(prepare, {})) == "- (the size of its model is not known yet)"
    assert str(memory(prepare, {})) == "- (the size of its model is not known yet)"
    compare = steps(recipe)[-1]
    assert str(disk(compare, {})) == "- (no weights: scores, timings and texts)"
    report = steps(read(place, "[compare.evaluation]", "[report]\n[compare.evaluation]"))[-1]
    known = sizes(recipe, planned_sizes(recipe))
    assert (report.stage, str(memory(report, known))) == (
        "report",
        "- (no model: it reads what the other stages wrote)",
    )


def test_a_size_is_shown_with_what_it_is_made_of(place):
    recipe = read(place)
    known = sizes(recipe, planned_sizes(recipe))
    assert str(disk(steps(recipe)[0], known)) == f"2 bytes x {TWO:,} parameters: {2 * TWO / 1e6:,.1f} MB"


def test_the_config_says_the_same_as_the_model(place):
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(place / "teacher").num_parameters() == THREE
    assert CONFIG.num_hidden_layers == 3


def stage(step, seconds, inputs, status="done", hardware="cpu, 2 threads"):
    return StageRun(
        name=step.name, stage=step.stage, status=status, config_digest=step.config_digest, input_digests=inputs,
        folder=step.folder.name, files={}, seconds=seconds, num_attempts=1, error=None, hardware=hardware,
    )  # fmt: skip


def write_run(folder, stages, hardware="cpu, 2 threads"):
    provenance = Provenance(command="", versions={}, hardware=hardware, git_commit=None)
    folder.mkdir(parents=True)
    run = RecipeRun(source="x", recipe="", stages=tuple(stages), provenance=provenance)
    (folder / "run.json").write_text(to_json(run))


@pytest.fixture
def two(place):
    """The first two steps, and what they read: the second what the first makes, which is not there yet."""
    prepare, distill, *_ = steps(read(place))
    return (
        prepare,
        distill,
        {prepare.name: {"teacher": "sha256:a"}, distill.name: {"data": "sha256:d", "student": None}},
    )


def test_a_run_beside_this_one_says_how_long_the_same_took(two, tmp_path):
    prepare, distill, inputs = two
    then = {"data": "sha256:d", "student": "sha256:made"}
    write_run(tmp_path / "other", [stage(prepare, 3.0, {"teacher": "sha256:a"}), stage(distill, 70.5, then)])
    earlier = Earlier(tmp_path / "mine", "cpu, 2 threads")
    assert earlier.took(distill, (prepare, distill), inputs) == (70.5, tmp_path / "other" / "run.json")
    assert Earlier(tmp_path / "mine", "cuda").took(distill, (prepare, distill), inputs) is None


@pytest.mark.parametrize("change", ["options", "data", "before", "failed", "options before"])
def test_what_differs_says_nothing(two, tmp_path, change):
    prepare, distill, inputs = two
    first = stage(prepare, 3.0, {"teacher": "sha256:b" if change == "before" else "sha256:a"})
    data = "sha256:e" if change == "data" else "sha256:d"
    second = stage(distill, 70.5, {"data": data, "student": "sha256:made"}, "failed" if change == "failed" else "done")
    if change == "options":
        second = replace(second, config_digest="other")
    if change == "options before":
        first = replace(first, config_digest="other")
    write_run(tmp_path / "other", [first, second])
    assert Earlier(tmp_path / "mine", "cpu, 2 threads").took(distill, (prepare, distill), inputs) is None


def test_what_went_on_from_another_attempt_is_no_measurement(two, tmp_path):
    """But what stands in front of another stage says which content that one read."""
    prepare, distill, inputs = two
    first = replace(stage(prepare, 0.1, {"teacher": "sha256:a"}), num_attempts=2)
    write_run(tmp_path / "other", [first, stage(distill, 70.5, {"data": "sha256:d", "student": "sha256:made"})])
    earlier = Earlier(tmp_path / "mine", "cpu, 2 threads")
    assert earlier.took(prepare, (prepare, distill), inputs) is None
    assert earlier.took(distill, (prepare, distill), inputs).seconds == 70.5


@pytest.mark.parametrize("hardware", ["cpu, 64 threads", None])
def test_a_stage_that_another_machine_did_is_no_measurement(two, tmp_path, hardware):
    """The run went on here, so its own provenance is this machine's; an older record does not say whose a stage was."""
    prepare, distill, inputs = two
    write_run(tmp_path / "other", [stage(prepare, 0.1, {"teacher": "sha256:a"}, hardware=hardware)])
    assert Earlier(tmp_path / "mine", "cpu, 2 threads").took(prepare, (prepare, distill), inputs) is None


def test_a_reports_time_is_known_whatever_it_will_read(place, tmp_path):
    every = steps(read(place, "[compare.evaluation]", "[report]\n[compare.evaluation]"))
    report = every[-1]
    write_run(tmp_path / "other", [stage(report, 1.5, {"prepare": "sha256:made"})])
    earlier = Earlier(tmp_path / "mine", "cpu, 2 threads")
    assert earlier.took(report, every, {"report": {"prepare": "not run"}}).seconds == 1.5


def test_a_record_that_cannot_be_read_says_nothing(two, tmp_path):
    prepare, distill, inputs = two
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text("{}")
    assert Earlier(tmp_path / "mine", "cpu, 2 threads").took(prepare, (prepare, distill), inputs) is None
