"""Keeps what a recipe's run found, without its models: the folder of a run to one of reports/.

    python scripts/keep_report.py RUN reports/2026-11-27-my-student

copies run.json, recipe.toml, the report, the artifacts that it was made of with their texts and pictures, and the
timings of a benchmark, in the run's own layout. Weights, tokenizers, checkpoints, caches and documents stay where they
are. Nothing is written where a file names an absolute path or an address of this machine.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from reports_index import DATED, MANIFEST, NOTES, RECIPE

from distill_eval.errors import ArtifactError, DistillEvalError, UsageError, require
from distill_eval.pipeline.collect import Artifact, search
from distill_eval.pipeline.report import ARTIFACT, PAGE
from distill_eval.pipeline.state import read_run
from distill_eval.record import from_json
from distill_eval.report import scorecard
from distill_eval.schema.recipe import RecipeRun
from distill_eval.schema.report import Report
from distill_eval.store.files import explained

TIMINGS = "timings.parquet"
BESIDE = (".md", ".svg")
"""Of what stands beside an artifact; not a README.md, which is a model's card and links what is not kept."""
MOST_BYTES = 1_000_000
"""Of a page, which holds documents, and of timings: larger ones are left out."""
OF_THIS_MACHINE = re.compile(
    r"(?<![\w.~/<*\\)-])/(?!(?:sys|proc|dev)/)[\w.-]+(?:/[\w.-]+)+"  # these three are alike everywhere
    r"|(?<=[\"'`=])/(?!(?:sys|proc|dev)/)\w[\w.-]*"  # of one name only as a value: `he /she` is prose
    r"|file://\S*"
    r"|(?:\b127(?:\.\d{1,3}){3}|\blocalhost|\b0\.0\.0\.0|\[::1\]):\d+"
)


def main() -> None:
    """Keep the run named on the command line."""
    parser = argparse.ArgumentParser(description="Copy what is to be kept of a recipe's run, without its models.")
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, which has a run.json")
    parser.add_argument("folder", type=Path, metavar="reports/NAME", help="a new folder; its name begins with the date")
    args = parser.parse_args()
    try:
        left = keep(args.run, args.folder)
    except DistillEvalError as error:
        sys.exit(str(error))
    print("\n".join([*(f"left out: {said}" for said in left), str(args.folder)]))
    print("Now type: python scripts/reports_index.py")


def keep(run: Path, folder: Path) -> list[str]:
    """Copy; what was left out for its size, and why.

    Raises:
        UsageError: the folder is there, or has no date in its name, or `run` is not that of a recipe.
        ArtifactError: the run has no finished report, or one of other artifacts, or a file tells of this machine.
        StoreError: the folder cannot be written.
    """
    require(not folder.exists(), f"{folder} exists: name another, or remove it")
    require(DATED.match(folder.name) is not None, f"{folder}: expected a date before the name, e.g. 2026-11-27-student")
    record = read_run(run)
    if record is None:
        raise UsageError(f"{run} holds no run of a recipe: expected a {MANIFEST}, as `distill-eval run` writes it")
    content, left = {}, []
    for path in _files(run, record):
        data = _bytes(path)
        if path.name in (PAGE, TIMINGS) and len(data) > MOST_BYTES:
            left.append(f"{path} has {len(data):,} bytes, at most {MOST_BYTES:,} are kept")
        else:
            content[path.relative_to(run)] = data
    refuse_private(run, content)
    _write(folder, content)
    return left


def _files(run: Path, record: RecipeRun) -> Iterator[Path]:
    """What is to be kept, each file once."""
    artifacts = [one for one in search([run]).artifacts if one.kind != "run"]
    cited, found = _of_report(run, record, artifacts), [run / MANIFEST, run / RECIPE]
    for file in cited:
        beside = [path for path in sorted(file.parent.iterdir()) if path.suffix in BESIDE or path.name == TIMINGS]
        found += [file, *(path for path in beside if path.name != NOTES)]
    for stage in record.stages:
        if stage.stage == "report":
            found += [
                path for name in (ARTIFACT, scorecard.TEXT, PAGE) if (path := run / stage.folder / name).is_file()
            ]
    yield from dict.fromkeys(found)


def _of_report(run: Path, record: RecipeRun, artifacts: Sequence[Artifact]) -> list[Path]:
    """The artifacts that the run's report was made of; all of a run whose recipe has none."""
    by_digest = {one.digest: run / one.file.relative_to(run.resolve()) for one in artifacts}
    for stage in record.stages:
        if stage.stage != "report":
            continue
        path = run / stage.folder / ARTIFACT
        if stage.status != "done":
            raise ArtifactError(
                f"{run} has no finished report ({stage.status}): end it with distill-eval run {run}/{RECIPE}"
            )
        sources = from_json(Report, _bytes(path), source=str(path)).sources
        gone = [source.path for source in sources if source.digest not in by_digest]
        if gone:
            raise ArtifactError(
                f"{path} was made of {', '.join(gone)}, which {run} does not have as it was then: run the recipe again"
            )
        return [by_digest[source.digest] for source in sources]
    return list(by_digest.values())


def _bytes(path: Path) -> bytes:
    with explained(path, "RUN", verb="read"):
        return path.read_bytes()


# ---- what is of this machine


def refuse_private(run: Path, content: Mapping[Path, bytes]) -> None:
    """Refuse absolute paths, and loopback addresses with a port.

    Raises:
        ArtifactError: every file that has one, with the first.
    """
    found = []
    for path, data in content.items():
        texts = _texts(data) if path.name == TIMINGS else [data.decode("utf-8", errors="replace")]
        match = next((match for text in texts if (match := OF_THIS_MACHINE.search(text))), None)
        if match is not None:
            found.append(f"{run / path} has {match[0]!r}")
    if found:
        raise ArtifactError(
            f"{'; '.join(found)}: expected no absolute path and no address of this machine. Run the recipe from its "
            f"own folder, with paths relative to it, or models and data by their names on the Hub"
        )


def _texts(parquet: bytes) -> Iterator[str]:
    """The metadata of a Parquet file, and its columns of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(parquet))
    yield from (value.decode("utf-8", errors="replace") for value in (table.schema.metadata or {}).values())
    for column in table.columns:
        if pa.types.is_string(column.type):
            yield from (value for value in column.unique().to_pylist() if value is not None)


# ---- writing


def _write(folder: Path, content: Mapping[Path, bytes]) -> None:
    """The folder, whole or not at all."""
    with explained(folder, "reports/NAME"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".keeping-", dir=folder.parent) as scratch:
            made = Path(scratch) / folder.name
            for path, data in content.items():
                (made / path).parent.mkdir(parents=True, exist_ok=True)
                (made / path).write_bytes(data)
            made.rename(folder)


if __name__ == "__main__":
    main()
