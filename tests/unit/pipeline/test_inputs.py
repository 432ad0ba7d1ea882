"""What a step reads, known by its content."""

import hashlib
from dataclasses import replace

import pytest

from distill_eval.compare_config import CompareConfig
from distill_eval.errors import DataError, ModelError
from distill_eval.evaluate.options import EvaluateOptions
from distill_eval.pipeline.inputs import files_of, input_digests, same
from distill_eval.pipeline.plan import Step
from distill_eval.student.config import PrepareConfig


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model(folder, weights=b"w", **files):
    folder.mkdir()
    for name, content in {"config.json": b"{}", "model.safetensors": weights, "tokenizer.json": b"{}", **files}.items():
        (folder / name).write_bytes(content)
    return str(folder)


def compare(teacher, *students, **options):
    return CompareConfig(teacher=teacher, student=students, evaluation=EvaluateOptions(tasks=("x",), **options))


def test_a_model_is_known_by_its_weights_config_and_tokenizer(tmp_path):
    a, b = model(tmp_path / "a"), model(tmp_path / "b", **{"README.md": b"x", "distill.json": b"{}"})
    c = model(tmp_path / "c", weights=b"other")
    found = input_digests(compare(a, b, c), (), sha)
    assert found.keys() == {"teacher", "student.0", "student.1"}
    assert found["teacher"] == found["student.0"] != found["student.1"]
    lines = "".join(
        f"{name} {sha(tmp_path / 'a' / name)}\n" for name in ("config.json", "model.safetensors", "tokenizer.json")
    )
    assert found["teacher"] == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def test_what_a_step_has_yet_to_make_is_not_known_and_what_nobody_makes_is_refused(tmp_path):
    teacher, later = model(tmp_path / "a"), str(tmp_path / "later")
    assert input_digests(compare(teacher, later), {later}, sha)["student"] is None
    with pytest.raises(ModelError, match="later"):
        input_digests(compare(teacher, later), (), sha)
    text = PrepareConfig(teacher=teacher, output_dir=tmp_path / "o", ratio=0.5, calibration="./missing.txt")
    with pytest.raises(DataError, match=r"calibration ./missing.txt: no such file or folder"):
        input_digests(text, (), sha)


def test_data_are_known_by_their_content(tmp_path):
    (tmp_path / "text.txt").write_text("abc")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "x.yaml").write_text("task: x")
    teacher = model(tmp_path / "a")
    config = PrepareConfig(
        teacher=teacher, output_dir=tmp_path / "o", ratio=0.5, calibration=str(tmp_path / "text.txt")
    )
    assert input_digests(config, (), sha)["calibration"] == f"sha256:{hashlib.sha256(b'abc').hexdigest()}"
    before = input_digests(compare(teacher, teacher, include_path=tmp_path / "tasks"), (), sha)
    (tmp_path / "tasks" / "x.yaml").write_text("task: y")
    after = input_digests(compare(teacher, teacher, include_path=tmp_path / "tasks"), (), sha)
    assert [name for name in before if before[name] != after[name]] == ["evaluation.include_path"]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("sha256:a", "sha256:a", True),
        ("sha256:a", "sha256:b", False),
        ("hub:o/d@1", "hub:o/d@1", True),
        ("hub:o/d@1", "hub:o/d@2", False),
        ("hub:o/d@1", "hub:o/d", True),  # a Hub that cannot be reached now
        ("hub:o/d", "hub:o/d@2", True),
        ("hub:o/d", "hub:o/e", False),
        ("hub:o/d#v1@1", "hub:o/d", False),  # another revision is asked for
        ("hub:o/d@1", "sha256:a", False),
        (None, None, False),
        (None, "sha256:a", False),
    ],
)
def test_what_counts_as_unchanged(before, now, expected):
    assert same({"x": before}, {"x": now}) is expected


def test_another_input_is_a_change():
    assert not same({"a": "sha256:a"}, {"a": "sha256:a", "b": "sha256:b"})


def test_files_of_a_step_are_those_that_are_not_hidden_nor_a_models_texts(tmp_path):
    for name in ("a.json", ".lock", "deep/b.txt", ".tmp/c.txt", "report.md", "curves.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    made = Step("prepare", PrepareConfig(teacher="a/b", output_dir=tmp_path, keep_layers="0"), ())
    own = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("a.json", "deep/b.txt")}
    assert files_of(made, sha) == own
    report = {"report.md", "curves.svg"}
    compared = Step("compare", replace(compare("a/b", "a/c"), output_dir=tmp_path), ())
    assert files_of(compared, sha).keys() == own.keys() | report  # there they are what is made
