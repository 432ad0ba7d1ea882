"""reports/README.md is what the folders say, and its links lead somewhere."""

import json
import re
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
import reports_index
from fakes.subjects import MADE, report, student

from distill_eval.errors import ArtifactError
from distill_eval.record import to_json
from distill_eval.report import escape
from distill_eval.schema.report import Source

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "reports"
BENCH = "2026-11-27-smollm2-transformers"
LINK = re.compile(r"\]\(([^)#]+)\)")


def rows(reports):
    """The cells of each row, by the name of its run."""
    lines = [line for line in reports_index.render(reports).splitlines() if line.startswith("| 2")]
    cells = [re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |")) for line in lines]
    return {re.split(r"[\]\[]", row[1])[1]: dict(zip(reports_index.HEADINGS, row, strict=True)) for row in cells}


@pytest.fixture
def reports(tmp_path):
    """A folder of reports with one benchmark."""
    shutil.copytree(REPORTS / BENCH, tmp_path / "reports" / BENCH)
    return tmp_path / "reports"


@pytest.fixture
def script(reports, monkeypatch):
    """The script as it is typed beside these reports; what it says, and its exit code."""
    copied = reports.parent / "scripts" / "reports_index.py"
    copied.parent.mkdir()
    shutil.copy(ROOT / "scripts" / "reports_index.py", copied)

    def typed(*words):
        monkeypatch.setattr(sys, "argv", [str(copied), *words])
        try:
            runpy.run_path(str(copied), run_name="__main__")
        except SystemExit as stop:
            return stop.code
        return 0

    return typed


def test_the_index_is_what_the_folders_say():
    stored = (REPORTS / "README.md").read_text(encoding="utf-8")
    assert stored == reports_index.render(REPORTS), "run: python scripts/reports_index.py"


@pytest.mark.parametrize("path", sorted(REPORTS.rglob("README.md")), ids=lambda path: path.parent.name)
def test_every_link_leads_somewhere(path):
    targets = [link for link in LINK.findall(path.read_text(encoding="utf-8")) if ":" not in link]
    assert [target for target in targets if not (path.parent / unquote(target)).exists()] == []
    assert targets or path.parent != REPORTS


def test_a_row_says_what_its_artifacts_say():
    row = rows(REPORTS)["smollm2-half-depth"]
    folder = "2026-11-27-smollm2-half-depth"
    said = json.loads((REPORTS / folder / "report.json").read_text())
    assert row["date"] == "2026-11-27"
    assert row["teacher"] == "SmolLM2-135M-Instruct"
    assert row["students"] == "student, student-w8a8, student-w4a16, teacher-w8a8"
    assert row["verdict"] == escape.text(said["verdict"])
    assert row["commit"] == f"`{said['provenance']['git_commit']}`"
    assert row["measured on"].split("; ") == [
        "lambada_openai, arc_easy, hellaswag, winogrande, sciq, 300 documents each",
        "4,080 positions of local/lm_corpus",
        "concurrency 1, concurrency 4, concurrency 16, 5 repeats",
    ]
    assert f"[report.html]({folder}/report.html)" in row["run"]
    assert "[2026-11-26-smollm2-serving/bench.json](2026-11-26-smollm2-serving/bench.json)" in row["artifacts"]


def test_a_folder_of_several_runs_has_a_row_for_each_with_its_recipe():
    found = rows(REPORTS)
    inside = [name for name in found if name.startswith("smollm2-distilled/")]
    assert inside == ["smollm2-distilled/layers-15", "smollm2-distilled/layers-22", "smollm2-distilled/wikitext"]
    row = found["smollm2-distilled/layers-22"]
    assert row["recipe"] == "[layers-22.toml](2026-11-26-smollm2-distilled/layers-22.toml)"
    assert row["measured on"].startswith(
        "lambada_openai (1,800), arc_easy (1,800), hellaswag (1,800), winogrande (1,267)"
    )
    assert found["smollm2-distilled/wikitext"]["recipe"] == "-"
    assert "[notes](2026-11-26-smollm2-distilled/README.md)" in row["run"]


def test_verdicts_are_in_the_words_of_the_reports():
    found = rows(REPORTS)
    quoted = (REPORTS / "2026-11-26-smollm2-distilled" / "wikitext" / "report.md").read_text()
    plain = " ".join(quoted.split("Criterion")[0].replace("**", "").replace(">", "").split()).split("Instruct` ")[1]
    assert found["smollm2-distilled/wikitext"]["verdict"] == plain
    bench = found["smollm2-transformers"]
    assert bench["verdict"].startswith("`SmolLM2-135M-Instruct`: **0.62x [0.51, 0.74] at concurrency 1: slower**.")
    assert (bench["teacher"], bench["students"]) == ("teacher (vllm)", "SmolLM2-135M-Instruct (hf), student (hf)")
    trained = found["minilm-emotion"]
    assert trained["measured on"] == "2,000 texts of dair-ai/emotion (test)"
    assert trained["verdict"].startswith("Ship emotion-3-distilled. It keeps 100.5 % ")
    assert found["smollm2-variants"]["verdict"].count("Do not ship") == 3  # of ten, the grounds are in the report


def test_a_training_without_a_report_tells_what_it_learnt(reports):
    kept = shutil.ignore_patterns("report")
    shutil.copytree(REPORTS / "2026-11-26-minilm-emotion", reports / "2026-11-26-minilm-emotion", ignore=kept)
    trained = rows(reports)["minilm-emotion"]
    assert trained["measured on"] == "2,000 texts of dair-ai/emotion (test)"
    assert "On dair-ai/emotion (test): accuracy 92.1 %, teacher 91.6 %. `baseline`:" in trained["verdict"]


def test_foreign_text_stays_text(reports):
    folder = reports / "2026-01-02-a (b)"
    folder.mkdir()
    said = report(
        student(name="x|y"), verdict="<script>alert(1)</script> [a](b) | c", provenance=replace(MADE, git_commit=None)
    )
    (folder / "report.json").write_text(to_json(said))
    (folder / "report.md").write_text("text")
    line = next(line for line in reports_index.render(reports).splitlines() if line.startswith("| 2026-01-02"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\[a\\](b) \\| c" in line
    assert "| x\\|y |" in line
    assert "[a (b)](2026-01-02-a%20%28b%29/report.md)" in line
    assert "| not a checkout |" in line


def test_a_stale_index_is_an_error(reports, script):
    assert "Type: python scripts/reports_index.py" in script("--check")
    assert not (reports / "README.md").exists()
    assert script() == 0
    assert script("--check") == 0
    (reports / BENCH / "README.md").unlink()
    assert "is not what the folders say" in script("--check")


def test_what_is_no_report_is_refused(reports):
    (reports / "2026-01-03-empty").mkdir()
    with pytest.raises(ArtifactError, match=r"2026-01-03-empty holds no run: expected one of report\.json, retention"):
        reports_index.render(reports)
    (reports / "2026-01-03-empty").rename(reports / "undated")
    with pytest.raises(ArtifactError, match=r"undated: expected a name that begins with a date"):
        reports_index.render(reports)


def test_a_damaged_artifact_is_refused(reports):
    path = reports / BENCH / "bench.json"
    path.write_text(path.read_text()[:-100])
    with pytest.raises(ArtifactError, match=r"bench\.json is not JSON"):
        reports_index.render(reports)


def test_a_report_of_what_is_not_kept_is_refused(reports):
    source = Source(kind="bench", path="serving/bench.json", digest="ab" * 32, command=None)
    (reports / "2026-01-02-a").mkdir()
    (reports / "2026-01-02-a" / "report.json").write_text(to_json(report(sources=(source,))))
    with pytest.raises(ArtifactError, match=r"was made of serving/bench\.json \(SHA-256 abababababab\), and no file"):
        reports_index.render(reports)
