"""How a model is named."""

import pytest

from distill_eval.errors import UsageError
from distill_eval.schema.model import ModelRef


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("gpt2", "gpt2", None),
        ("org/name@refs/pr/1", "org/name", "refs/pr/1"),
        ("./exp@1/student", "./exp@1/student", None),
        ("./student@main", "./student", "main"),
    ],
)
def test_a_name_may_have_a_revision(text, name, revision):
    assert ModelRef.parse(text) == ModelRef(name=name, revision=revision)
    assert str(ModelRef.parse(text)) == text


def test_a_folder_that_exists_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ModelRef.parse("exp@1/student").revision == "1/student"
    (tmp_path / "exp@1" / "student").mkdir(parents=True)
    assert ModelRef.parse("exp@1/student") == ModelRef(name="exp@1/student", revision=None)


@pytest.mark.parametrize("text", ["", " ", "@main", "gpt2@"])
def test_half_a_name_is_refused(text):
    with pytest.raises(UsageError, match="expected NAME, NAME@REVISION or a folder"):
        ModelRef.parse(text)
