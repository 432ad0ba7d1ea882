"""The recipe that `init` writes: read back strictly, whole, and never over another."""

import tomllib
from pathlib import Path

import pytest

from distill_eval.cli import main, parse
from distill_eval.errors import UsageError
from distill_eval.pipeline.plan import steps
from distill_eval.pipeline.starter import InitConfig, starter
from distill_eval.recipe import STAGES, Overrides, load, resolve


def test_it_has_every_stage_and_reads_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--teacher", "org/teacher", "--tasks", "arc_easy,sciq"]) == 0
    assert "distill-eval run recipe.toml --dry-run" in capsys.readouterr().out
    recipe = load("recipe.toml", Overrides())
    assert (recipe.teacher, recipe.output_dir) == ("org/teacher", Path("runs/recipe"))
    assert recipe.compare.evaluation.tasks == ("arc_easy", "sciq")
    assert (recipe.data.data, recipe.data.data_config) == ("Salesforce/wikitext", "wikitext-103-raw-v1")
    missing = {name for name in STAGES if not getattr(recipe, name)}
    assert missing == {"plan", "cache_teacher"}
    assert [step.name for step in steps(recipe)] == [
        "prepare", "distill", "baseline", "quantize w8a8", "quantize w4a16", "export onnx-int8", "compare", "fidelity",
        "bench", "report",
    ]  # fmt: skip


def test_what_is_commented_out_reads_too():
    """Each commented option may be taken in its place, but for those that take the place of another."""
    text = starter(InitConfig(teacher="org/teacher", data="org/data"))
    for instead in ("student", "chain"):
        assert f"# {instead} = " in text
    lines = [
        line.removeprefix("# ") if line.startswith("# ") and (" = " in line or "# [" in line[:3]) else line
        for line in text.splitlines()
        if not line.startswith(("# student", "# chain"))
    ]
    recipe = resolve(tomllib.loads("\n".join(lines)), source="recipe.toml")
    assert (recipe.data.data_config, recipe.data.max_documents) == ("name", 100_000)
    assert recipe.plan.ratio == 2
    assert recipe.cache_teacher.kind == "sample"
    assert recipe.report.gate
    assert [(rule.name, rule.bound) for rule in recipe.report.judged] == [("max-size-ratio", 0.5), ("min-speedup", 1.5)]
    assert recipe.quantize[1].algorithm == "autoround"
    assert recipe.bench.model == ("org/teacher", "runs/mine/student", "runs/mine/variants/w8a8")


def test_a_name_with_quotes_is_a_name():
    text = starter(InitConfig(teacher='a "b" \\c', data="x\ny"))
    table = tomllib.loads(text)
    assert (table["teacher"], table["data"]["data"]) == ('a "b" \\c', "x\ny")


def test_names_that_are_not_ascii_are_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--teacher", "./\U0001f600", "--data", "./\u00e4\x7f", "--output", "my recipe.toml"]) == 0
    assert "type: distill-eval run 'my recipe.toml' --dry-run" in capsys.readouterr().out
    text = Path("my recipe.toml").read_text(encoding="utf-8")
    assert "#     distill-eval run 'my recipe.toml' " in text
    table = tomllib.loads(text)
    assert (table["teacher"], table["data"]["data"]) == ("./\U0001f600", "./\u00e4\x7f")


def test_a_file_that_is_there_stays(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text("mine")
    assert main(["init", "--output", str(path)]) == 2
    assert capsys.readouterr().err == f"distill-eval: --output {path} exists: name another, or remove it\n"
    assert path.read_text() == "mine"


def test_wrong_values_are_refused(tmp_path, capsys):
    assert main(["init", "--output", str(tmp_path / "recipe.txt")]) == 2
    assert "expected a name that ends in .toml" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["init", "--output", str(tmp_path / "file" / "recipe.toml")]) == 1
    assert "cannot write" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--tasks: expected one or more"):
        parse(["init", "--tasks", ""])
