"""Shipped recipes on a real checkpoint: the shares of its parameters that they ask for, and the whole of `smoke`."""

import json

import pytest

from distill_eval.cli import main
from distill_eval.errors import UsageError
from distill_eval.pipeline.chain import planned_sizes
from distill_eval.recipe import Overrides, load
from distill_eval.record import from_json
from distill_eval.schema.recipe import RecipeRun

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
NUM_PARAMETERS = 134_515_008
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


def test_smoke_runs_to_its_report_and_once(tmp_path, capsys):
    out = tmp_path / "smoke"
    assert main(["run", "smoke", "--output-dir", str(out)]) == 0
    assert "Report:" in capsys.readouterr().out
    run = from_json(RecipeRun, (out / "run.json").read_bytes(), source="run.json")
    assert [stage.status for stage in run.stages] == ["done"] * 5
    known = run.stages[0].input_digests
    assert known["teacher"].startswith(f"hub:{MODEL}@")
    assert known["calibration"].startswith("hub:fancyzhx/ag_news@")
    made = json.loads((out / "prepared" / "student.json").read_text())
    assert made["student_num_parameters"] == pytest.approx(0.5 * NUM_PARAMETERS, rel=0.02)
    trained = {name: json.loads((out / name / "distill.json").read_text()) for name in ("student", "baseline")}
    for found in trained.values():
        assert found["after"]["perplexity"] < found["before"]["perplexity"]
    assert trained["student"]["data"] == trained["baseline"]["data"]
    [entry] = [e for e in json.loads((out / "compare" / "retention.json").read_text())["entries"] if e["primary"]]
    assert (entry["task"], entry["num_pairs"]) == ("arc_easy", 10)
    assert main(["run", "smoke", "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out.count("done before, skipped") == 5
