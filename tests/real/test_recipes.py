"""Shipped recipes on a real checkpoint: the shares of its parameters that they ask for, and the whole of `smoke`."""

import json

import pytest

from distill_eval.cli import main
from distill_eval.errors import UsageError
from distill_eval.pipeline.chain import planned_sizes
from distill_eval.recipe import Overrides, load, shipped
from distill_eval.record import from_json
from distill_eval.schema.recipe import RecipeRun
from distill_eval.schema.report import Report

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NUM_PARAMETERS = 134_515_008
LAYER = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576  # q and o, k and v, the feed-forward's three, norms
GIVEN = Overrides(teacher=MODEL, data="any/data")


@pytest.mark.parametrize(("name", "ratio"), [("max-quality", 0.25), ("small-gpu", 0.20), ("fast", 0.15)])
def test_the_share_that_a_recipe_asks_for_is_possible(name, ratio):
    [found] = planned_sizes(load(name, GIVEN))
    assert found / NUM_PARAMETERS == pytest.approx(ratio, rel=0.02)


def test_a_share_below_the_embeddings_is_refused_where_the_width_is_fixed(tmp_path):
    path = tmp_path / "wide.toml"
    path.write_text("[distill]\n[prepare]\nratio = 0.2\nhidden_size = 576\n")
    with pytest.raises(UsageError) as caught:
        planned_sizes(load(str(path), GIVEN))
    assert "no student with --hidden-size 576 has 26.9M parameters" in str(caught.value)
    assert "(embeddings and head alone have 28.31M)" in str(caught.value)  # 49152 * 576 + the last norm's 576


def test_the_progressive_recipe_fits_its_teacher():
    found = planned_sizes(load("progressive", Overrides(data="any/data")))
    assert found == (pytest.approx(110e6, rel=0.02), pytest.approx(80e6, rel=0.02))


def test_the_half_depth_recipe_has_half_of_the_layers():
    [found] = planned_sizes(load("half-depth", GIVEN))
    assert found == NUM_PARAMETERS - 15 * LAYER


def test_smoke_runs_to_its_report_and_once(tmp_path, capsys):
    """From the Hub; without variants, fidelity and benchmark, which the demo's test has."""
    out, recipe = tmp_path / "smoke", tmp_path / "smoke.toml"
    made, variants, rest = shipped()["smoke"].partition("[[quantize]]\n")
    compared = rest[rest.index("[compare.evaluation]\n") : rest.index("[fidelity]\n")]
    assert variants
    recipe.write_text(made + compared + rest[rest.index("[report]\n") :])
    assert main(["run", str(recipe), "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"Report: {out / 'report' / 'report.html'}, {out / 'report' / 'report.md'}"
    run = from_json(RecipeRun, (out / "run.json").read_bytes(), source="run.json")
    assert [stage.status for stage in run.stages] == ["done"] * 6
    known = run.stages[0].input_digests
    assert known["teacher"].startswith(f"hub:{MODEL}@")
    assert known["calibration"].startswith("hub:fancyzhx/ag_news@")
    made = json.loads((out / "prepared" / "student.json").read_text())
    assert made["student_num_parameters"] == NUM_PARAMETERS - 15 * LAYER
    trained = {name: json.loads((out / name / "distill.json").read_text()) for name in ("student", "baseline")}
    for found in trained.values():
        assert found["after"]["perplexity"] < found["before"]["perplexity"]
    assert trained["student"]["data"] == trained["baseline"]["data"]
    entries = [e for e in json.loads((out / "compare" / "retention.json").read_text())["entries"] if e["primary"]]
    assert [(entry["task"], entry["num_pairs"]) for entry in entries] == [("arc_easy", 10)]
    report = from_json(Report, (out / "report" / "report.json").read_bytes(), source="report.json")
    sizes = {variant.name: variant.size_ratio for variant in report.variants}
    assert sizes["student"] < sizes[report.variants[0].name] == 1
    assert main(["run", str(recipe), "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out.count("done before, skipped") == 6
