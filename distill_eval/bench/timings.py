"""`timings.parquet`: every request of a benchmark as it went, from which every metric can be computed again.

A row is a `RequestTiming`. The windows and what else the run wants to know again stand in the file's metadata, under
one key, as JSON. Whole numbers are int64, times float64: what is read is what was written, to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from distill_eval.errors import ArtifactError, boundary
from distill_eval.record import from_json, record, to_json_line
from distill_eval.schema.timing import RequestTiming, Window
from distill_eval.store import JSON, write_atomic

SCHEMA = "distill-eval/timings"
SCHEMA_VERSION = 1
_KEY = b"distill-eval"
_INT, _TIME, _TEXT = pa.int64(), pa.float64(), pa.string()
_COLUMNS = pa.schema(
    [
        pa.field("window", _INT, nullable=False),
        pa.field("index", _INT, nullable=False),
        pa.field("scheduled_s", _TIME),
        pa.field("sent_s", _TIME, nullable=False),
        pa.field("chunk_s", pa.list_(_TIME), nullable=False),
        pa.field("ended_s", _TIME, nullable=False),
        pa.field("status", _TEXT, nullable=False),
        pa.field("reason", _TEXT),
        pa.field("num_tries", _INT, nullable=False),
        pa.field("max_tokens", _INT, nullable=False),
        pa.field("num_prompt_tokens", _INT, nullable=False),
        pa.field("usage_prompt_tokens", _INT),
        pa.field("usage_completion_tokens", _INT),
        pa.field("text_tokens", _INT),
        pa.field("finish_reason", _TEXT),
    ]
)


@record
class _Head:
    """What the metadata holds."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    windows: tuple[Window, ...]
    notes: str
    """JSON of what the run keeps besides."""


class Timings(NamedTuple):
    """The content of the file."""

    timings: tuple[RequestTiming, ...]
    windows: tuple[Window, ...]
    notes: Mapping[str, JSON]
    """What the run needs to make its artifact again, e.g. what the models are."""


def write_timings(
    path: Path, timings: Iterable[RequestTiming], windows: Iterable[Window], notes: Mapping[str, JSON]
) -> None:
    """Write the file whole, so that one that is there is either replaced or stays.

    Raises:
        StoreError: it cannot be written.
    """
    head = _Head(windows=tuple(windows), notes=json.dumps(notes, allow_nan=False))
    rows = list(timings)
    columns = {name: [getattr(row, name) for row in rows] for name in _COLUMNS.names}
    schema = _COLUMNS.with_metadata({_KEY: to_json_line(head).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd")
    write_atomic(path, buffer.getvalue().to_pybytes())


def read_timings(path: Path) -> Timings:
    """Read what `write_timings` wrote.

    Raises:
        ArtifactError: there is no such file, or it is another one, damaged, or of another version.
    """
    with boundary(ArtifactError, f"cannot read {path}, expected the timings.parquet of a benchmark"):
        table = pq.read_table(path)
    head = _head(path, table.schema)
    if not table.schema.equals(_COLUMNS):
        raise ArtifactError(f"{path} does not have the columns of a benchmark's timings.parquet: {table.schema.names}")
    columns = {name: table.column(name).to_pylist() for name in _COLUMNS.names}
    columns["chunk_s"] = [tuple(stamps) for stamps in columns["chunk_s"]]
    names = [field.name for field in fields(RequestTiming)]
    rows = zip(*(columns[name] for name in names), strict=True)
    timings = tuple(RequestTiming(**dict(zip(names, row, strict=True))) for row in rows)
    return Timings(timings, head.windows, json.loads(head.notes))


def _head(path: Path, schema: pa.Schema) -> _Head:
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        raise ArtifactError(f"{path} is a Parquet file, but not the timings.parquet of a benchmark")
    with boundary(ArtifactError, f"{path} is damaged"):
        known = json.loads(text)
        found = f"{known['schema']} version {known['version']}"
    if found != f"{SCHEMA} version {SCHEMA_VERSION}":
        raise ArtifactError(
            f"{path} is of {found}; this version of distill-eval reads {SCHEMA} version {SCHEMA_VERSION}"
        )
    return from_json(_Head, text, source=str(path))
