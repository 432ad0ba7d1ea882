"""Raw timings come back from Parquet as they were."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_eval.bench.timings import read_timings, write_timings
from distill_eval.errors import ArtifactError, StoreError
from distill_eval.schema.timing import Load, RequestTiming, Window

WINDOW = Window(
    number=0,
    model="teacher",
    engine="vllm",
    load=Load(kind="open", request_rate=0.1, arrival="gamma", burstiness=0.3),
    repeat=1,
    phase="warmup",
    began_s=0.1,
    ended_s=1 / 3,
    loop_lag_ms=0.7,
)
NOTES = {"models": [{"name": "teacher", "start_s": 1.5}], "seed": 3, "nothing": None, "text": "\u00e9\n"}
seconds = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**40)
texts = st.none() | st.text(st.characters(codec="utf-8"))
timings = st.lists(
    st.builds(
        RequestTiming,
        window=counts, index=counts, scheduled_s=st.none() | seconds, sent_s=seconds,
        chunk_s=st.lists(seconds).map(tuple), ended_s=seconds,
        status=st.sampled_from(["completed", "errored", "cancelled"]),
        reason=texts, num_tries=counts, max_tokens=counts, num_prompt_tokens=counts,
        usage_prompt_tokens=st.none() | counts, usage_completion_tokens=st.none() | counts,
        text_tokens=st.none() | counts, finish_reason=texts,
    ),
    max_size=4,
)  # fmt: skip


@settings(max_examples=30)
@given(timings)
def test_exactly(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("timings") / "timings.parquet"
    write_timings(path, rows, [WINDOW], NOTES)
    found = read_timings(path)
    assert (found.timings, found.windows, found.notes) == (tuple(rows), (WINDOW,), NOTES)


def test_what_is_there_stays_when_it_cannot_be_replaced(tmp_path):
    path = tmp_path / "timings.parquet"
    write_timings(path, [], [WINDOW], {})
    with pytest.raises(ValueError, match="JSON"):
        write_timings(path, [], [], {"x": float("nan")})
    assert read_timings(path).windows == (WINDOW,)
    assert [file.name for file in tmp_path.iterdir()] == ["timings.parquet"]
    with pytest.raises(StoreError):
        write_timings(path / "below" / "timings.parquet", [], [], {})


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "timings.parquet"
    write_timings(path, [], [WINDOW], {})
    table = pq.read_table(path)
    head = table.schema.metadata[b"distill-eval"].replace(b'"version": 1', b'"version": 2')
    pq.write_table(table.replace_schema_metadata({b"distill-eval": head}), path)
    with pytest.raises(ArtifactError) as error:
        read_timings(path)
    assert "is of distill-eval/timings version 2; this version of distill-eval reads" in str(error.value)


def test_other_columns_are_refused(tmp_path):
    path = tmp_path / "timings.parquet"
    write_timings(path, [], [WINDOW], {})
    pq.write_table(pq.read_table(path).drop_columns(["status"]), path)
    with pytest.raises(ArtifactError, match="does not have the columns"):
        read_timings(path)


@pytest.mark.parametrize("content", [b"", b"not Parquet at all", b"PAR1"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "timings.parquet"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"cannot read .*timings\.parquet, expected"):
        read_timings(path)


def test_a_damaged_head_is_refused(tmp_path):
    path = tmp_path / "timings.parquet"
    pq.write_table(pa.table({"x": [1]}).replace_schema_metadata({b"distill-eval": b"{"}), path)
    with pytest.raises(ArtifactError, match="is damaged"):
        read_timings(path)


def test_a_file_that_is_not_there_or_not_ours_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="cannot read"):
        read_timings(tmp_path / "none.parquet")
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ArtifactError, match=r"is a Parquet file, but not the timings\.parquet"):
        read_timings(path)
