"""Which models of several artifacts are the same."""

import pytest

from distill_eval.errors import NotComparableError
from distill_eval.pipeline.joined import Mention, join


def told(ref, where="retention.json", role=None, **facts):
    return Mention((ref,) if isinstance(ref, str) else ref, where, role, **facts)


def joined(*mentions):
    """The names of each model, as they were mentioned."""
    return [[mention.refs[0] for mention in model.mentions] for model in join(mentions)]


def test_a_digest_decides_whatever_the_names_are():
    assert joined(told("a/x", weights_digest="1"), told("b/y", "other.json", weights_digest="1")) == [["a/x", "b/y"]]


@pytest.mark.parametrize("ref", ["student", "./student", "student/", "runs/../student"])
def test_one_path_written_in_several_ways_is_one(ref):
    models = join([told("student"), told(ref, "bench.json")])
    assert len(models) == 1
    assert models[0].by_name == ()  # nothing to be doubted


@pytest.mark.parametrize(
    ("ref", "doubted"), [("/home/x/runs/a/student", False), ("b/student", True), ("student", True)]
)
def test_the_end_of_a_path_joins_what_has_no_other_name_and_is_doubted_where_it_is_short(ref, doubted):
    seen = told(ref, "bench.json")
    (model,) = join([told("runs/a/student"), seen])
    assert model.by_name == ((seen,) if doubted else ())


def test_the_longest_end_decides():
    both = [told("runs/a/student"), told("runs/b/student"), told("/home/x/runs/b/student", "bench.json")]
    assert joined(*both) == [["runs/a/student"], ["runs/b/student", "/home/x/runs/b/student"]]


def test_two_names_of_one_artifact_are_two_models_and_neither_takes_the_place_of_a_third():
    twins = [told("c/student"), told("a/student", "bench.json"), told("b/student", "bench.json")]
    assert joined(*twins) == [["c/student"], ["a/student"], ["b/student"]]


def test_a_name_that_fits_two_models_is_refused_with_both():
    both = [told("runs/a/student"), told("runs/b/student"), told("student", "bench.json")]
    with pytest.raises(NotComparableError, match=r"student in bench.json may be runs/a/student .* and runs/b/student"):
        join(both)


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({"weights_digest": "1"}, {"weights_digest": "2"}, "SHA-256 2 in bench.json, 1 in retention.json"),
        ({"size_bytes": 1000}, {"size_bytes": 1011}, "1,011 bytes in bench.json, 1,000 in retention.json"),
    ],
    ids=["digest", "size"],
)
def test_one_name_for_two_models_is_refused(one, other, why):
    with pytest.raises(NotComparableError, match=f"student stands for two models: .*{why}"):
        join([told("student", **one), told("./student", "bench.json", **other)])


def test_small_files_more_or_less_make_no_other_model():
    assert joined(told("x", size_bytes=1000), told("x", "bench.json", size_bytes=1009)) == [["x", "x"]]


def test_another_size_behind_the_same_end_of_a_path_is_another_model():
    assert joined(told("a/student", size_bytes=10), told("b/student", size_bytes=20)) == [["a/student"], ["b/student"]]


def test_a_revision_tells_apart_only_what_has_one():
    assert joined(told("org/m@v1"), told("hub/org/m", "bench.json")) == [["org/m@v1", "hub/org/m"]]
    assert joined(told("org/m@v1"), told("org/m@v2")) == [["org/m@v1"], ["org/m@v2"]]


def test_every_name_of_a_model_counts():
    made = told(("w8a8", "reports/variants/w8a8"), "w8a8/quant.json")
    assert joined(told("./w8a8"), made, told("nf4")) == [["./w8a8", "w8a8"], ["nf4"]]


def test_the_teacher_is_the_teacher_whoever_else_names_it():
    (model,) = join([told("t", role=None), told("t", role="student"), told("t", role="teacher")])
    assert model.role == "teacher"
