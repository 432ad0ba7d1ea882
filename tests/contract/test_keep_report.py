"""What scripts/keep_report.py takes over of a run, and what it refuses."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import keep_report
import pyarrow.parquet as pq
import pytest
import reports_index
from fakes.runs import record, recorded

from distill_eval.errors import ArtifactError, StoreError, UsageError
from distill_eval.pipeline.report import report
from distill_eval.record import to_json
from distill_eval.report_config import ReportConfig

REPORTS = Path(__file__).resolve().parents[2] / "reports"
HALF_DEPTH, SERVING = REPORTS / "2026-11-27-smollm2-half-depth", REPORTS / "2026-11-26-smollm2-serving"
RECIPE = """
teacher = "org/teacher"
output_dir = "out"
[[quantize]]
name = "w8a8"
scheme = "W8A8"
[compare.evaluation]
tasks = ["arc_easy"]
[fidelity]
[bench]
model = ["teacher", "w8a8"]
"""
WITH_REPORT = f"{RECIPE}[report]\n"
FOLDERS = {"quantize w8a8": "variants/w8a8", "compare": "compare", "fidelity": "fidelity", "bench": "bench"}
KEPT = [
    "bench/bench.json",
    "bench/bench.md",
    "bench/timings.parquet",
    "compare/report.md",
    "compare/retention.json",
    "fidelity/fidelity.json",
    "fidelity/fidelity.md",
    "recipe.toml",
    "run.json",
    "variants/w8a8/curves.svg",
    "variants/w8a8/quant.json",
    "variants/w8a8/quant.md",
]
REPORT = ["report/report.html", "report/report.json", "report/report.md"]
LEFT = [
    ".lock",
    "compare/samples-teacher-x-arc_easy.jsonl",
    "teacher-cache/manifest.json",
    "variants/w8a8/README.md",
    "variants/w8a8/checkpoint-2/trainer_state.json",
    "variants/w8a8/model.safetensors",
    "variants/w8a8/tokenizer.json",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of a recipe that was finished, with its models."""
    folder = tmp_path_factory.mktemp("finished") / "half-depth"
    for name, source in (("compare", "compare"), ("fidelity", "fidelity"), ("variants/w8a8", "student-w8a8")):
        shutil.copytree(HALF_DEPTH / source, folder / name)
    shutil.copytree(SERVING, folder / "bench")
    (folder / "bench" / "README.md").unlink()
    (folder / "variants" / "w8a8" / "curves.svg").write_text("<svg/>")
    (folder / "recipe.toml").write_text(WITH_REPORT)
    (folder / "run.json").write_text(to_json(recorded(WITH_REPORT, FOLDERS | {"report": "report"})))
    for name in LEFT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    report(ReportConfig(runs=(folder,), output_dir=folder / "report", html=True), argv=["report", "half-depth"])
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """The same below the current directory, to be changed."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(finished, Path("half-depth"))


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "reports" / "2026-11-28-half-depth"


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_report_and_what_it_is_made_of_are_kept_byte_for_byte(run, kept):
    assert keep_report.keep(run, kept) == []
    assert files(kept) == sorted(KEPT + REPORT)
    assert [name for name in files(kept) if (kept / name).read_bytes() != (run / name).read_bytes()] == []
    assert files(kept.parent) == [f"{kept.name}/{name}" for name in files(kept)]
    assert kept.stat().st_mode == run.stat().st_mode


def test_the_same_report_can_be_made_of_what_is_kept(run, kept, tmp_path):
    keep_report.keep(run, kept)
    again = tmp_path / "again" / "half-depth"
    shutil.copytree(kept, again)
    report(ReportConfig(runs=(again,), output_dir=again / "report"), argv=["report", "half-depth"])
    assert (again / "report" / "report.json").read_bytes() == (kept / "report" / "report.json").read_bytes()


def test_the_index_has_a_row_for_it(run, kept):
    keep_report.keep(run, kept)
    (row,) = [line for line in reports_index.render(kept.parent).splitlines() if line.startswith("| 2026")]
    assert (
        f"| [half-depth]({kept.name}/report/report.md), [report/report.html]({kept.name}/report/report.html) |" in row
    )
    assert f"| [recipe.toml]({kept.name}/recipe.toml) |" in row
    assert f"[variants/w8a8/quant.json]({kept.name}/variants/w8a8/quant.json)" in row


def test_of_a_recipe_without_a_report_all_artifacts_are_kept(run, kept):
    (run / "run.json").write_text(to_json(recorded(RECIPE, FOLDERS)))
    shutil.rmtree(run / "report")
    keep_report.keep(run, kept)
    assert files(kept) == KEPT


def test_a_large_page_and_large_timings_are_left_out_and_named(run, kept):
    for name in ("report/report.html", "bench/timings.parquet"):
        with (run / name).open("ab") as file:
            file.write(b" " * keep_report.MOST_BYTES)
    left = keep_report.keep(run, kept)
    assert [said.split(" has ")[0] for said in left] == [
        "half-depth/bench/timings.parquet",
        "half-depth/report/report.html",
    ]
    assert all(said.endswith("bytes, at most 1,000,000 are kept") for said in left)
    assert files(kept) == sorted({*KEPT, *REPORT} - {"bench/timings.parquet", "report/report.html"})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('"command": "distill-eval run /data/runs/a.toml"', "/data/runs/a.toml"),
        ("--output-dir=/out", "/out"),
        ("see file:///x/y", "file:///x/y"),
        ("http://127.0.0.1:8765/v1", "127.0.0.1:8765"),
        ("localhost:8000", "localhost:8000"),
        ("http://[::1]:80", "[::1]:80"),
    ],
)
def test_a_path_or_an_address_of_this_machine_is_refused_with_its_file(run, kept, text, named):
    with (run / "variants" / "w8a8" / "quant.md").open("a") as file:
        file.write(text)
    with pytest.raises(ArtifactError) as refused:
        keep_report.keep(run, kept)
    assert str(refused.value).startswith(f"half-depth/variants/w8a8/quant.md has {named!r}: expected no absolute path")
    assert not kept.parent.exists()


@pytest.mark.parametrize(
    "text", ["/sys/class/powercap", "a/b, </td>, 1 / 2, he /she, https://example.org/a/b", "localhost", "~/x"]
)
def test_what_is_alike_on_all_machines_is_kept(run, kept, text):
    (run / "variants" / "w8a8" / "quant.md").write_text(text)
    keep_report.keep(run, kept)
    assert (kept / "variants" / "w8a8" / "quant.md").read_text() == text


def test_timings_are_read_too(run, kept):
    path = run / "bench" / "timings.parquet"
    table = pq.read_table(path)
    reasons = ["cannot connect to 127.0.0.1:8000"] + [None] * (len(table) - 1)
    place = table.schema.get_field_index("reason")
    pq.write_table(table.set_column(place, table.schema.field("reason"), [reasons]), path)
    with pytest.raises(ArtifactError, match=r"bench/timings\.parquet has '127\.0\.0\.1:8000'"):
        keep_report.keep(run, kept)


def test_a_report_of_other_artifacts_is_refused(run, kept):
    shutil.copy(REPORTS / "2026-11-26-smollm2-variants" / "w8a8" / "quant.json", run / "variants" / "w8a8")
    with pytest.raises(
        ArtifactError, match=r"was made of half-depth/variants/w8a8/quant\.json, which half-depth does not"
    ):
        keep_report.keep(run, kept)
    assert not kept.exists()


def test_an_unfinished_report_is_refused(run, kept):
    (run / "run.json").write_text(to_json(recorded(WITH_REPORT, FOLDERS | {"report": "report"}, {"report": "failed"})))
    with pytest.raises(
        ArtifactError, match=r"no finished report \(failed\): end it with distill-eval run half-depth/rec"
    ):
        keep_report.keep(run, kept)


def test_an_artifact_that_was_edited_is_refused(run, kept):
    stages = [
        replace(one, files={"quant.json": "0" * 64}) if one.stage == "quantize" else one for one in record(run).stages
    ]
    (run / "run.json").write_text(to_json(replace(record(run), stages=tuple(stages))))
    with pytest.raises(ArtifactError, match=r"quant\.json was edited by hand"):
        keep_report.keep(run, kept)


def test_names_that_cannot_be_are_refused(run, kept):
    kept.mkdir(parents=True)
    with pytest.raises(UsageError, match="exists: name another"):
        keep_report.keep(run, kept)
    with pytest.raises(UsageError, match="undated: expected a date before the name"):
        keep_report.keep(run, kept.with_name("undated"))
    with pytest.raises(UsageError, match="holds no run of a recipe"):
        keep_report.keep(Path("nowhere"), kept.with_name("2026-11-28-b"))
    Path("file").write_text("")
    with pytest.raises(StoreError, match="cannot write file/2026-11-28-b: "):
        keep_report.keep(run, Path("file/2026-11-28-b"))


def test_the_command_says_what_comes_next(run, kept, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["keep_report.py", str(run), str(kept)])
    keep_report.main()
    assert capsys.readouterr().out == f"{kept}\nNow type: python scripts/reports_index.py\n"
    with pytest.raises(SystemExit, match="exists: name another, or remove it"):
        keep_report.main()
