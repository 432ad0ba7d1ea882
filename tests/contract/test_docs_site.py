"""The documentation builds strictly, and its generated pages say what the code says."""

import subprocess
import sys
from pathlib import Path

import docs_site
import pytest

from distill_eval import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a link to nothing, or a page that the navigation lacks, would have ended the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built(site):
    pages = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {
        "index.html",
        "quickstart/index.html",
        "guides/gate/index.html",
        "metrics/index.html",
        "design/card/index.html",
        "reference/cli/index.html",
        "reference/artifacts/index.html",
        "reference/python/index.html",
        "reports/index.html",
    } <= pages


def test_no_page_asks_another_server_for_anything(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert 'src="http' not in text, path
        assert 'rel="stylesheet" href="http' not in text, path


def test_every_verb_is_in_the_reference(site):
    text = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    assert {name for name in cli.VERBS if f'id="{name}"' not in text} == set()
    assert "--min-retention" in text
    assert "\x1b" not in text


def test_every_artifact_and_its_fields_are_in_the_reference():
    text = docs_site.artifacts()
    assert {path.name for path in (ROOT / "docs" / "schema").glob("*.json") if f"## {path.name}" not in text} == set()
    assert "| `gap_recovered` | Estimate | (student - baseline) / (teacher - baseline)" in text


@pytest.mark.parametrize(
    ("markdown", "repo_path", "site_path", "expected"),
    [
        ("[m](docs/metrics.md#serving)", "README.md", "index.md", "[m](metrics.md#serving)"),
        ("[s](serve/README.md)", "README.md", "index.md", "[s](serve/README.md)"),
        ("[c](CONTRIBUTING.md)", "README.md", "index.md", "[c](contributing.md)"),
        ("[x](https://example.org/a.md)", "README.md", "index.md", "[x](https://example.org/a.md)"),
        ("[speed](#speed)", "README.md", "index.md", "[speed](#speed)"),
        ("[folder](benchmarks)", "README.md", "index.md", "folder"),
        ("[`m`](docs/metrics.md) and `x`", "README.md", "index.md", "[`m`](metrics.md) and `x`"),
        ("`[m](docs/metrics.md)`", "README.md", "index.md", "`[m](docs/metrics.md)`"),
        ("[m](../metrics.md)", "docs/guides/bench.md", "guides/bench.md", "[m](../metrics.md)"),
        ("[r](../../reports/README.md)", "docs/guides/bench.md", "guides/bench.md", "[r](../reports/README.md)"),
        ("[p](../distill_eval/serving/profiles)", "serve/README.md", "serve/README.md", "p"),
        ("[no](docs/no-such-page.md)", "README.md", "index.md", "[no](no-such-page.md)"),
    ],
)
def test_links_are_turned_around(markdown, repo_path, site_path, expected):
    assert docs_site.turned(markdown, repo_path, site_path) == expected
