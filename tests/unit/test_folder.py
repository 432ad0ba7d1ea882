"""Output folders that appear whole: which are refused, and where they appear."""

import pytest

from distill_eval.errors import UsageError
from distill_eval.store.folder import beside, publish, require_free


def write(output):
    require_free(output)
    with beside(output) as scratch:
        (scratch / "built").mkdir()
        publish(scratch / "built", output, {"a.txt": "a"})


@pytest.mark.parametrize("made", [True, False], ids=["empty", "missing"])
def test_a_link_is_followed_and_stays_one(tmp_path, made):
    (tmp_path / "disk").mkdir()
    if made:
        (tmp_path / "disk" / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "out" / "a.txt").read_text() == "a"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["out"]


def test_a_link_to_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to("mine")
    with pytest.raises(UsageError, match="link exists and is not an empty folder"):
        require_free(tmp_path / "link")


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=r"--output-dir .*loop leads nowhere"):
        require_free(tmp_path / "loop")


def test_the_current_directory_is_refused_by_any_name(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    for name in (".", "../here", tmp_path / "here", tmp_path / "link"):
        with pytest.raises(UsageError, match="is the current directory, which cannot be replaced: name a folder in it"):
            require_free(type(tmp_path)(name))
    write(type(tmp_path)("model"))
    assert (tmp_path / "here" / "model" / "a.txt").read_text() == "a"
