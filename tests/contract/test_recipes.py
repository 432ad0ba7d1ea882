"""Every shipped recipe reads, resolves, and says what the documentation says of it."""

import re
import tomllib

import pytest

from distill_eval import cli
from distill_eval.pipeline.plan import steps
from distill_eval.pipeline.run_config import RunConfig
from distill_eval.recipe import Overrides, load, resolve, shipped

GIVEN = Overrides(teacher="org/teacher", data="org/data")
NAMES = sorted(shipped())


@pytest.mark.parametrize("name", NAMES)
def test_it_resolves_and_reads_back_from_what_it_writes(name):
    recipe = load(name, GIVEN)
    assert resolve(tomllib.loads(recipe.to_toml()), source=name) == recipe
    stages = {step.stage for step in steps(recipe)}
    assert ("distill" in stages) == (name != "quantize-only")
    assert "report" in stages
    assert str(recipe.output_dir) == f"runs/{name}"


@pytest.mark.parametrize("name", NAMES)
def test_its_comment_says_how_to_run_it(name):
    assert f"distill-eval run {name}" in shipped()[name]


def test_the_help_names_them_all(capsys):
    with pytest.raises(SystemExit):
        cli.parse(["run", "--help"])
    printed = re.sub(r"\W+", " ", capsys.readouterr().out)
    assert re.sub(r"\W+", " ", ", ".join(NAMES)) in printed


def test_their_settings():
    settings = {name: load(name, GIVEN) for name in NAMES}
    best, fast, small = settings["max-quality"], settings["fast"], settings["small-gpu"]
    assert (best.prepare.ratio, best.distill.loss.temperature, best.distill.loss.alpha) == (0.25, 2.0, 0.8)
    assert (best.distill.training.learning_rate, best.distill.training.accumulate) == (1e-4, 16)
    assert (fast.prepare.ratio, fast.distill.loss.temperature, fast.distill.loss.alpha) == (0.15, 3.0, 0.6)
    assert fast.distill.training.learning_rate == 3e-4
    assert (small.prepare.ratio, small.distill.training.batch_size) == (0.20, 1)
    assert (small.distill.training.accumulate, small.distill.training.gradient_checkpointing) == (32, True)
    assert settings["classifier"].distill.labels.label_column == "label"
    assert [step.name for step in steps(settings["classifier"])] == ["prepare", "distill", "baseline", "report"]
    assert settings["progressive"].chain == ("110M", "80M")
    smoke = load("smoke", Overrides())  # needs nothing
    assert smoke.data.data == "fancyzhx/ag_news"
    assert [step.name for step in steps(smoke)] == [
        "prepare", "cache-teacher", "distill", "baseline", "quantize w8a8", "quantize w4a16", "export onnx-int4",
        "compare", "fidelity", "bench", "report",
    ]  # fmt: skip
    half, alone = settings["half-depth"], settings["quantize-only"]
    assert (half.prepare.keep_layers, half.baseline) == ("::2", True)
    assert (half.quantize[0].model, half.fidelity.text) == ("runs/half-depth/student", "Salesforce/wikitext")
    assert {config.model for config in (*alone.quantize, *alone.export)} == {"org/teacher"}
    assert alone.compare.student == tuple(
        f"runs/quantize-only/variants/{name}" for name in ("w8a8", "w4a16", "onnx-int8", "onnx-int4")
    )


def test_a_run_asks_for_a_recipe():
    assert RunConfig(recipe="smoke").output_dir is None
