"""What a finished evaluation's key is made of: whatever can change a prompt is in it, or nothing is reused."""

import hashlib

import pytest

from distill_eval.errors import TaskError
from distill_eval.evaluate import sources

REVISION = "0123456789abcdef"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a task's YAML file and data; the Hub knows one data set."""
    known = {"org/data": REVISION, "xnli": REVISION}
    monkeypatch.setattr(sources, "dataset_revision", known.get)
    (tmp_path / "task.yaml").write_text("")
    (tmp_path / "q.jsonl.gz").write_text("questions")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "utils.py").write_text("def f(): pass")
    (tmp_path / "more" / "beside.py").write_text("x = 1")
    return tmp_path


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def found(place, **config):
    return sources.task_sources([(place / "task.yaml", config)], digest)


def test_a_local_file_is_known_by_its_content(place):
    first = found(place, dataset_path="json", dataset_kwargs={"data_files": {"test": str(place / "q.jsonl.gz")}})
    (place / "q.jsonl.gz").write_text("other questions")
    second = found(place, dataset_path="json", dataset_kwargs={"data_files": {"test": str(place / "q.jsonl.gz")}})
    assert first is not None
    assert {key for key in first if first[key] != second[key]} == {str(place / "q.jsonl.gz")}


@pytest.mark.parametrize("name", ["org/data", "xnli"])
def test_a_data_set_on_the_hub_is_known_by_its_revision(place, name):
    assert found(place, dataset_path=name)[name] == REVISION


@pytest.mark.parametrize(
    "config",
    [
        {"dataset_path": "org/unknown"},
        {"dataset_path": "json", "dataset_kwargs": {"data_dir": "{place}"}},
        {"dataset_path": "json", "dataset_kwargs": {"data_files": "https://example.org/q.json"}},
        {"dataset_path": "json", "dataset_kwargs": {"data_files": "missing.json"}},
        {"dataset_path": "json"},
        {"dataset_path": "{place}"},
        {"dataset_path": "org/data", "dataset_kwargs": {"data_files": ["https://example.org/q.json"]}},
        {"dataset_path": "org/data", "custom_dataset": "/x/utils.make"},
        {"task": [{"group": "inner", "task": [{"task": "new", "dataset_path": "org/unknown"}]}]},
    ],
)
def test_data_that_cannot_be_identified_is_never_reused(place, config):
    def filled(value):
        if isinstance(value, dict):
            return {key: filled(inner) for key, inner in value.items()}
        return value.format(place=place) if isinstance(value, str) else value

    assert found(place, **filled(config)) is None


def test_the_code_of_a_function_and_what_lies_beside_it_count(place):
    config = {"dataset_path": "org/data", "process_docs": f"{place}/more/utils.f"}
    first = found(place, **config)
    (place / "more" / "beside.py").write_text("x = 2")
    second = found(place, **config)
    assert {key for key in first if first[key] != second[key]} == {str(place / "more" / "beside.py")}


def test_a_long_prompt_is_not_a_path(place):
    assert found(place, dataset_path="org/data", doc_to_text="/" + "x" * 5000 + ". y") is not None


def test_names_below_a_group_are_found_inline_and_nested(place):
    from lm_eval.tasks import TaskManager

    from distill_eval.evaluate.harness import tasks

    task = "task: {name}\ndataset_path: org/data\noutput_type: multiple_choice\n"
    for name in ("a", "b", "c"):
        (place / f"{name}.yaml").write_text(task.format(name=name) + "tag: [letters]\n" * (name == "c"))
    (place / "inner.yaml").write_text("group: inner\ntask: [{task: a, num_fewshot: 2}]\n")
    (place / "outer.yaml").write_text("group: outer\ntask:\n  - group: new\n    task: [inner, b]\n  - letters\n")
    manager = TaskManager(include_path=str(place), include_defaults=False)
    assert tasks.leaf_names(manager, "outer") == ["a", "b", "c"]
    paths = [path.stem for path, _ in tasks.yaml_configs(manager, ["outer"])]
    assert paths == ["outer", "inner", "a", "b", "c"]
    assert tasks.matching(manager, ["?", "outer", "a"]) == ("a", "b", "c", "outer")
    with pytest.raises(TaskError, match="unknown task 'z\\*'"):
        tasks.matching(manager, ["a", "z*"])
