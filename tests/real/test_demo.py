"""The body of `make demo`, on few documents: from PyPI alone to a report."""

import json
import os
import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "scripts" / "demo.py"


def test_the_demo_ends_with_a_report(tmp_path):
    command = [sys.executable, str(DEMO), "--limit", "3", "--folder", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    retention = json.loads((tmp_path / "demo" / "report" / "retention.json").read_text())
    tasks = {entry["task"] for entry in retention["entries"]}
    assert tasks == {"demo_arc_easy", "demo_piqa", "demo_sciq", "demo_hellaswag"}
    assert all(entry["num_pairs"] == 3 for entry in retention["entries"])
    assert (tmp_path / "demo" / "report" / "report.md").read_text().startswith("# ")
    assert str(tmp_path / "demo" / "report" / "report.md") in done.stdout
