"""The artifacts' JSON Schemas are stored, so that a change to one shows in review."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "docs" / "schema"
GENERATED = runpy.run_path(str(ROOT / "scripts" / "write_schema.py"))["render"]()


@pytest.mark.parametrize("name", sorted(GENERATED))
def test_stored_schema_is_current(name):
    stored = (STORED / name).read_text(encoding="utf-8")
    assert stored == GENERATED[name], "run: python scripts/write_schema.py (and think of SCHEMA_VERSION)"


def test_no_stored_schema_is_left_over():
    assert {path.name for path in STORED.iterdir()} == set(GENERATED)


def test_a_run_says_what_its_stages_can_be():
    schema = json.loads(GENERATED["run.json"])
    assert schema["properties"]["schema"]["default"] == "distill-eval/run"
    stage = schema["$defs"]["StageRun"]
    assert stage["properties"]["status"]["enum"] == ["done", "failed", "unfinished", "not run"]
    assert {"config_digest", "input_digests", "folder", "files", "seconds", "error"} <= set(stage["required"])


def test_retention_says_which_schema_it_is():
    schema = json.loads(GENERATED["retention.json"])
    assert schema["properties"]["schema"]["default"] == "distill-eval/retention"
    assert schema["additionalProperties"] is False
    assert {"task", "metric", "teacher", "student"} <= set(schema["$defs"]["Entry"]["required"])
