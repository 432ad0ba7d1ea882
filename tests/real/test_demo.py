"""The body of `make demo`, on few documents: from PyPI alone to a report."""

import json
import os
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"


def test_the_demo_ends_with_a_report(tmp_path):
    demo = tmp_path / "demo"
    command = [sys.executable, str(DEMO), "--limit", "3", "--folder", str(demo)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    retention = json.loads((demo / "run" / "compare" / "retention.json").read_text())
    assert {entry["task"] for entry in retention["entries"]} == {"demo_arc_easy", "demo_piqa", "demo_sciq"}
    assert all(entry["num_pairs"] == 3 for entry in retention["entries"])
    report = json.loads((demo / "run" / "report" / "report.json").read_text())
    assert [variant["name"] for variant in report["variants"] if variant["role"] != "baseline"][1:] == [
        "student", "w8a8", "w4a16", "onnx-int4",
    ]  # fmt: skip
    for text in ("report.md", "report.html"):
        assert str(demo / "run" / "report" / text) in done.stdout
