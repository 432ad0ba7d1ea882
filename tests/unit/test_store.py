"""The cache: what goes in comes out, and what is damaged does not."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distill_eval.errors import ArtifactError, StoreError
from distill_eval.store import Store, default_root, digest, write_atomic
from distill_eval.store.files import explained, write_synced

PARTS = {"model": "tiny", "task": "sciq", "limit": None, "shots": [0, 5]}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "cache")


def only_file(store, suffix):
    (path,) = store.root.glob(f"*/*{suffix}")
    return path


def age(path, days):
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def test_root_is_the_variable_then_xdg_then_home(monkeypatch):
    monkeypatch.setenv("DISTILL_EVAL_CACHE", "~/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_root() == Path("/home/somebody/mine")
    monkeypatch.delenv("DISTILL_EVAL_CACHE")
    assert default_root() == Path("/xdg/distill-eval")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_root() == Path("/home/somebody/.cache/distill-eval")
    assert Store(Path("/given")).root == Path("/given")


def test_digest_is_sha256_of_canonical_json():
    expected = hashlib.sha256('{"a":[true,null,"\u00e9"],"b":1.5}'.encode()).hexdigest()
    assert digest({"b": 1.5, "a": (True, None, "\u00e9")}) == expected
    assert digest({"b": 1.5, "a": [True, None, "e"]}) != expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"a": float("nan")})


@given(data=st.binary(max_size=2000))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_put_is_got(store, data):
    key = store.put("scores", PARTS, data)
    assert key == digest(PARTS)
    assert store.get("scores", dict(reversed(PARTS.items()))) == data
    assert store.get("scores", PARTS | {"task": "boolq"}) is None
    assert store.get("other", PARTS) is None


def test_same_entry_is_same_bytes(store, tmp_path):
    other = Store(tmp_path / "other")
    for each in (store, other):
        each.put("scores", PARTS, b"abc" * 1000)
    assert only_file(store, ".entry").read_bytes() == only_file(other, ".entry").read_bytes()
    assert json.loads(only_file(store, ".entry").read_bytes().splitlines()[0])["parts"] == PARTS


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_entry_never_gives_other_data(store, position, flip, cut):
    store.put("scores", PARTS, b"some data")
    path = only_file(store, ".entry")
    content = bytearray(path.read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position] ^= flip
    path.write_bytes(content)
    assert store.get("scores", PARTS) in (None, b"some data")  # the header's `kind` and `key` are for people


def test_a_damaged_entry_is_said_once_and_computed_again(store, caplog):
    store.put("scores", PARTS, b"some data")
    path = only_file(store, ".entry")
    path.write_bytes(path.read_bytes()[:-3])
    assert store.get("scores", PARTS) is None
    assert store.get("scores", PARTS) is None
    assert [str(path) in record.message and "damaged" in record.message for record in caplog.records] == [True]
    store.put("scores", PARTS, b"some data")
    assert store.get("scores", PARTS) == b"some data"


@pytest.mark.parametrize("content", [b"", b"[]\n", b"{}\n", b'{"parts": 1}\n', b"\xff\xfe", b'{"parts": NaN}\n'])
def test_an_entry_of_another_shape_is_damaged(store, content):
    store.put("scores", PARTS, b"some data")
    only_file(store, ".entry").write_bytes(content)
    assert store.get("scores", PARTS) is None
    assert store.entries() == []


def test_a_finished_journal_is_an_entry(store):
    with store.journal("scores", PARTS) as journal:
        assert (journal.finished, journal.done) == (None, {})
        journal.append({0: [-1.5, True], 1: None})
        journal.append({7: "text\nline"})
        assert journal.done == {0: [-1.5, True], 1: None, 7: "text\nline"}
        journal.finish(b"result")
    assert store.get("scores", PARTS) == b"result"
    assert [path.suffix for path in store.root.glob("*/*")] == [".entry"]
    with store.journal("scores", PARTS) as journal:
        assert (journal.finished, journal.done) == (b"result", {})


def test_an_interrupted_journal_goes_on(store):
    with pytest.raises(KeyboardInterrupt), store.journal("scores", PARTS) as journal:
        journal.append({0: -0.1, 1: float("-inf")})
        raise KeyboardInterrupt
    with store.journal("scores", PARTS) as journal:
        assert journal.done == {0: -0.1, 1: float("-inf")}
        journal.append({2: 1e-300})
    with store.journal("scores", PARTS) as journal:
        assert journal.done == {0: -0.1, 1: float("-inf"), 2: 1e-300}


def test_a_torn_last_line_is_dropped_and_what_follows_is_kept(store, caplog):
    with store.journal("scores", PARTS) as journal:
        journal.append({0: "a"})
        journal.append({1: "b"})
    path = only_file(store, ".journal")
    path.write_bytes(path.read_bytes()[:-4])
    with store.journal("scores", PARTS) as journal:
        assert journal.done == {0: "a"}
        journal.append({2: "c"})
    assert "1 damaged or unfinished lines" in caplog.text
    with store.journal("scores", PARTS) as journal:
        assert journal.done == {0: "a", 2: "c"}


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_journal_never_gives_other_values(tmp_path_factory, position, flip, cut):
    store = Store(tmp_path_factory.mktemp("cache"))
    truth = {i: [-i / 7, f"answer {i}"] for i in range(6)}
    with store.journal("scores", PARTS) as journal:
        for i, value in truth.items():
            journal.append({i: value})
    path = only_file(store, ".journal")
    content = bytearray(path.read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position] ^= flip
    path.write_bytes(content)
    with store.journal("scores", PARTS) as journal:
        assert journal.done.items() <= truth.items()
        assert cut or len(journal.done) >= len(truth) - 2  # one flipped byte costs its line, or joins it to the next
        journal.append({i: value for i, value in truth.items() if i not in journal.done})
    with store.journal("scores", PARTS) as journal:
        assert journal.done == truth


def test_a_leftover_journal_goes_when_the_entry_is_there(store):
    with store.journal("scores", PARTS) as journal:
        journal.append({0: 1})
    store.put("scores", PARTS, b"result")
    with store.journal("scores", PARTS) as journal:
        assert journal.finished == b"result"
    assert [entry.finished for entry in store.entries()] == [True]


def test_try_journal_does_not_wait(store):
    with store.journal("scores", PARTS) as first:
        with store.try_journal("scores", PARTS) as second:
            assert second is None
        with store.try_journal("scores", PARTS | {"task": "boolq"}) as other:
            other.append({0: 1})
            assert other.done == {0: 1}
        first.finish(b"result")
    with store.try_journal("scores", PARTS) as third:
        assert third.finished == b"result"


def test_entries_say_what_they_are(store):
    assert store.entries() == []
    store.put("scores", PARTS, b"x" * 1000)
    with store.journal("run", {"task": "boolq"}) as journal:
        journal.append({0: 1})
    before = time.time()
    run, scores = store.entries()
    assert (run.kind, run.parts, run.finished) == ("run", {"task": "boolq"}, False)
    assert (scores.kind, scores.parts, scores.finished, scores.key) == ("scores", PARTS, True, digest(PARTS))
    assert scores.size_bytes == only_file(store, ".entry").stat().st_size
    assert before - 60 < scores.used_at <= before + 1


def test_prune_by_age_counts_from_the_last_use(store):
    for task in ("old", "used", "new"):
        store.put("scores", {"task": task}, task.encode())
    with store.journal("scores", {"task": "left"}) as journal:
        journal.append({0: 1})
    for task, suffix in (("old", "entry"), ("used", "entry"), ("left", "journal")):
        age(store.root / "scores" / f"{digest({'task': task})}.{suffix}", 31)
    assert store.get("scores", {"task": "used"}) == b"used"
    removed = store.prune(older_than_days=30, keep_bytes=None)
    assert sorted(entry.parts["task"] for entry in removed) == ["left", "old"]
    assert sorted(entry.parts["task"] for entry in store.entries()) == ["new", "used"]


def test_prune_by_size_removes_the_least_recently_used(store):
    for days, task in enumerate("abcd"):
        store.put("scores", {"task": task}, task.encode())
        age(store.root / "scores" / f"{digest({'task': task})}.entry", days)
    store.put("other", {"task": "e"}, b"e")
    size = store.entries()[-1].size_bytes
    removed = store.prune(older_than_days=None, keep_bytes=2 * size, kinds={"scores"})
    assert [entry.parts["task"] for entry in removed] == ["d", "c"]
    assert store.prune(older_than_days=None, keep_bytes=None) == []
    assert len(store.prune(older_than_days=None, keep_bytes=0)) == 3
    assert list(store.root.glob("*/*")) == []


def test_prune_spares_what_is_worked_on_and_clears_what_was_left(store):
    store.put("scores", {"task": "other"}, b"x")
    folder = store.root / "scores"
    for name in ("abc.lock", ".tmp-old", ".tmp-new"):
        (folder / name).touch()
    age(folder / ".tmp-old", 2)
    with store.journal("scores", PARTS) as journal:
        journal.append({0: 1})
        removed = store.prune(older_than_days=0, keep_bytes=0)
        assert [entry.parts for entry in removed] == [{"task": "other"}]
        journal.append({1: 2})
    assert sorted(path.name for path in folder.iterdir()) == [".tmp-new", f"{digest(PARTS)}.journal"]
    with store.journal("scores", PARTS) as journal:
        assert journal.done == {0: 1, 1: 2}


def test_file_digest_is_read_once_until_the_file_changes(store, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    assert store.file_digest(path) == hashlib.sha256(b"weights").hexdigest()
    stat = path.stat()
    path.write_bytes(b"WEIGHTS")  # the same size
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert store.file_digest(path) == hashlib.sha256(b"weights").hexdigest()  # came from the memo
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert store.file_digest(path) == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_file_digest_takes_a_hub_blob_at_its_name(store, tmp_path):
    sha256, sha1 = "ab" * 32, "cd" * 20
    (tmp_path / "blobs").mkdir()
    for name in (sha256, sha1):
        (tmp_path / "blobs" / name).write_bytes(b"content")
        (tmp_path / name[:2]).symlink_to(tmp_path / "blobs" / name)
    assert store.file_digest(tmp_path / "ab") == sha256
    assert store.file_digest(tmp_path / "cd") == hashlib.sha256(b"content").hexdigest()
    assert store.file_digest(tmp_path / "blobs" / sha256) == hashlib.sha256(b"content").hexdigest()  # no link


def test_file_digest_of_a_missing_file(store, tmp_path):
    with pytest.raises(ArtifactError, match=r"cannot read .*gone\.bin: FileNotFoundError"):
        store.file_digest(tmp_path / "gone.bin")


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b" / "report.md"
    write_atomic(path, "first")
    write_atomic(path, "second \u00e9")
    assert path.read_bytes() == b"second \xc3\xa9"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_with_the_option():
    path = Path("/output/report.md")
    message = r"cannot write /output/report\.md: No space left on device\. Free space .* with --output-dir"
    with Path("/dev/full").open("wb") as full:
        with pytest.raises(StoreError, match=message), explained(path, "--output-dir"):
            write_synced(full, b"x")
        with pytest.raises(OSError, match="No space left"):
            full.close()


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(StoreError, match=r"cannot write .*report\.md: .*with --output-dir"):
        write_atomic(tmp_path / "file" / "report.md", "x")
    blocked = Store(tmp_path / "file")
    with pytest.raises(StoreError, match=r"cannot write .*with \$DISTILL_EVAL_CACHE"):
        blocked.put("scores", PARTS, b"x")
    with pytest.raises(StoreError, match=r"cannot read .*with \$DISTILL_EVAL_CACHE"):
        blocked.get("scores", PARTS)
    with pytest.raises(StoreError, match=r"cannot write .*with \$DISTILL_EVAL_CACHE"), blocked.journal("scores", PARTS):
        pytest.fail("the lock cannot be made")
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        write_atomic(tmp_path / "report.md", "x")
    assert list(tmp_path.iterdir()) == []
