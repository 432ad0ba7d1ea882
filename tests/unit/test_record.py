"""The codec of records: strict tables, TOML that reads back, and what is not a default."""

import tomllib
from dataclasses import field
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_eval.errors import ArtifactError, UsageError, require
from distill_eval.record import changed, flat, from_json, from_table, record, to_toml


@record
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()

    def __post_init__(self):
        require(self.rate > 0, f"--rate {self.rate:g}: expected more than 0")


@record
class Outer:
    count: int
    inner: Inner = field(default_factory=Inner)
    other: Inner | None = None
    folder: Path = Path("x")


def refused(table):
    with pytest.raises(UsageError) as caught:
        from_table(Outer, table, source="a.toml")
    return str(caught.value)


def test_a_table_is_read_into_nested_records():
    found = from_table(Outer, {"count": 2, "other": {"rate": 1, "names": ["a", "b"]}, "folder": "y/z"}, source="a.toml")
    assert found == Outer(count=2, other=Inner(rate=1.0, names=("a", "b")), folder=Path("y/z"))


def test_wrong_keys_are_named_with_their_path_and_the_nearest_known_one():
    assert refused({"cuont": 1, "count": 1}) == "a.toml: cuont: unknown key. Did you mean 'count'?"
    assert refused({"count": 1, "inner": {"rte": 1}}) == "a.toml: inner.rte: unknown key. Did you mean 'rate'?"
    assert refused({"count": 1, "other": {"nmaes": []}}) == "a.toml: other.nmaes: unknown key. Did you mean 'names'?"
    assert refused({"count": 1, "zzz": 1}) == "a.toml: zzz: unknown key."
    both = refused({"count": "1", "inner": {"rate": "high"}})
    assert "count: Input should be a valid integer; inner.rate: Input should be a valid number" in both
    assert refused({}) == "a.toml: count: Field required"


def test_a_refusal_of_the_record_itself_keeps_its_words():
    assert refused({"count": 1, "inner": {"rate": -1}}) == "a.toml: inner: --rate -1: expected more than 0"


def test_a_date_is_no_number():
    assert "count: Input should be a valid integer" in refused({"count": date(2026, 1, 1)})


def test_json_is_refused_in_the_same_words():
    with pytest.raises(ArtifactError, match=r"f is not a valid Outer: cuont: unknown key. Did you mean 'count'\?"):
        from_json(Outer, '{"count": 1, "cuont": 1}', source="f")


def test_what_is_not_a_default():
    assert changed(Outer(count=1)) == {"count": 1, "folder": "x"}  # a path's default is not told from what is said
    said = Outer(count=1, inner=Inner(rate=2.0), other=Inner(names=("a",)))
    assert changed(said) == {"count": 1, "inner.rate": 2.0, "other.names": ["a"], "folder": "x"}


def test_flat_tables():
    assert flat({"a": {"b": {"c": 1}, "d": []}, "e": None}) == {"a.b.c": 1, "a.d": [], "e": None}


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
KEYS = st.from_regex(r"[a-z_]{1,6}", fullmatch=True)
TABLES = st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES | st.dictionaries(KEYS, VALUES, max_size=2)))


@settings(max_examples=40)
@given(TABLES)
def test_toml_reads_back(table):
    assert tomllib.loads(to_toml(table)) == table


def test_toml_leaves_out_what_is_none():
    assert to_toml({"b": {"c": None, "d": [1, 2]}, "a": None, "e": "x"}) == 'e = "x"\n\n[b]\nd = [1, 2]\n'
