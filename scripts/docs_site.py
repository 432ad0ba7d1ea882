"""What `mkdocs build` adds to docs/: the README and the reports with their links turned around, and reference pages.

mkdocs calls `on_files` and `on_page_markdown` (see mkdocs.yml). Nothing here is written down that the code can say.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ALONE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Files beside docs/ by the name that they have on the site; the others keep theirs."""
BESIDE = ("serve/README.md", "reports/**/*.md", "reports/**/*.svg", "reports/**/*.png")
LINK = r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<target>[^()\s]+)\)"
CODE_OR_LINK = re.compile(rf"^```.*?^```|{LINK}|`[^`\n]+`", re.MULTILINE | re.DOTALL)
"""A link may have code in its text; code with a link in it is none."""
WIDTH = 100
CLI, ARTIFACTS, PYTHON = "reference/cli.md", "reference/artifacts.md", "reference/python.md"


def on_files(files: Any, config: Any) -> Any:
    """The pages of docs/ and all others."""
    from mkdocs.structure.files import File

    for repo_path, site_path in outside().items():
        files.append(File.generated(config, site_path, abs_src_path=str(ROOT / repo_path)))
    for site_path, text in generated().items():
        files.append(File.generated(config, site_path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A page with the links that it has on the site, and its folded tables as markdown."""
    source = {site: repo for repo, site in outside().items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return turned(markdown, source, page.file.src_uri).replace("<details>", '<details markdown="1">')


def outside() -> dict[str, str]:
    """Files of the repository that are not in docs/, to their names on the site."""
    beside = sorted(path.relative_to(ROOT).as_posix() for pattern in BESIDE for path in ROOT.glob(pattern))
    return {**ALONE, **{path: path for path in beside}}


def generated() -> dict[str, str]:
    """The pages that are read off the code."""
    return {CLI: command_line(), ARTIFACTS: artifacts(), PYTHON: python()}


# ---- links


def turned(markdown: str, repo_path: str, site_path: str) -> str:
    """The text with every relative link from a file of the repository as one between pages of the site.

    A link to what is not on the site (a program, a folder) becomes its text. One to nothing stays: mkdocs refuses it.
    """

    def turn(match: re.Match[str]) -> str:
        target, mark, anchor = (match["target"] or "").partition("#")  # code has no target
        if not target or ":" in target:
            return match[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(repo_path), target))
        found = _on_site(wanted)
        if found is None:
            return match["text"] if (ROOT / wanted).exists() else match[0]
        where = posixpath.relpath(found, posixpath.dirname(site_path) or ".")
        return f"{match['image']}[{match['text']}]({where}{mark}{anchor})"

    return CODE_OR_LINK.sub(turn, markdown)


def _on_site(repo_path: str) -> str | None:
    inside = repo_path.startswith("docs/") and not (ROOT / repo_path).is_dir()
    return repo_path.removeprefix("docs/") if inside else outside().get(repo_path)


# ---- the command line


def command_line() -> str:
    """Every verb with its options, as `--help` prints them."""
    from distill_eval import cli

    verbs = "\n\n".join(
        f"## {name}\n\n{text}\n\n```text\n{_help([name])}\n```" for name, (_, text) in cli.VERBS.items()
    )
    return f"# Command line\n\nWhat `distill-eval VERB --help` prints.\n\n```text\n{_help([])}\n```\n\n{verbs}\n"


def _help(words: list[str]) -> str:
    """The help text without colors, as in a terminal of a fixed width."""
    from distill_eval import cli

    printed, width = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.parse([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        os.environ |= {} if width is None else {"COLUMNS": width}
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).strip("\n")


# ---- the artifacts


def artifacts() -> str:
    """A table of fields for every record of every artifact, from its JSON Schema; what several share stands once."""
    told: set[str] = set()
    parts = ["# Artifacts", "The files that commands leave, field by field. Their JSON Schemas are in `docs/schema/`."]
    for path in sorted((ROOT / "docs" / "schema").glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        parts += [f"## {path.name}", *_record(schema)]
        for name, inner in schema.get("$defs", {}).items():
            if name + json.dumps(inner) not in told:
                told.add(name + json.dumps(inner))
                parts += [f"### {name} of {path.name}", *_record(inner)]
    return "\n\n".join(parts) + "\n"


def _record(schema: Mapping[str, Any]) -> Iterator[str]:
    if "description" in schema:
        yield _text(schema["description"])
    rows = [
        f"| `{name}` | {_text(_kind(field))} | {_text(field.get('description', ''))} |"
        for name, field in schema.get("properties", {}).items()
    ]
    if rows:
        yield "\n".join(["| field | type | meaning |", "|---|---|---|", *rows])


def _kind(field: Mapping[str, Any]) -> str:
    """The type of a field in a few words."""
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "anyOf" in field:
        return " or ".join(_kind(one) for one in field["anyOf"])
    if "const" in field or "enum" in field:
        return ", ".join(f"`{one}`" for one in field.get("enum", [field.get("const")]))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}" if "items" in field else "list"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), Mapping):
        return f"map to {_kind(field['additionalProperties'])}"
    return str(field.get("type", "any"))


def _text(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# ---- Python


EXAMPLE = """\
from pathlib import Path

from distill_eval.record import from_json
from distill_eval.schema.retention import Retention

path = Path("retention/retention.json")
retention = from_json(Retention, path.read_bytes(), source=str(path))
for entry in retention.entries:
    print(entry.task, entry.retention.value, entry.verdict)"""
MODULES = ("distill_eval.pipeline", "distill_eval.record", "distill_eval.store", "distill_eval.errors")


def python() -> str:
    """What the modules for other programs offer, from their docstrings."""
    parts = [
        "# Python",
        "Every command is a function that takes its config and leaves artifacts; these are read as frozen records:",
        f"```python\n{EXAMPLE}\n```",
    ]
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [f"## {name}", inspect.getdoc(module) or "", *_members(module)]
    return "\n\n".join(parts) + "\n"


def _members(module: Any) -> Iterator[str]:
    """Its public functions and classes, those of `__all__` where it has one, in the order of their names."""
    public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    for name in sorted(public):
        member = getattr(module, name)
        ours = getattr(member, "__module__", "").startswith(module.__name__)
        if (inspect.isfunction(member) or inspect.isclass(member)) and (ours or hasattr(module, "__all__")):
            yield f"### {name}"
            yield f"```python\n{_signature(name, member)}\n```"
            yield f"```text\n{inspect.getdoc(member) or ''}\n```"


def _signature(name: str, member: Any) -> str:
    if inspect.isclass(member):
        return f"class {name}"
    return f"def {name}{inspect.signature(member)}"
