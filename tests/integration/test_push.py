"""A folder and its card on a Hub of our own, through huggingface_hub's own client."""

import pytest
from fakes import hub as fakes
from huggingface_hub import HfApi

from distill_eval.errors import PublishError, UsageError
from distill_eval.pipeline import hub

CARD = {"README.md": "---\nlicense: mit\n---\n\n# student\n", ".eval_results/arc_easy.yaml": "- value: 1\n"}


@pytest.fixture(autouse=True)
def no_xet(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


@pytest.fixture
def folder(tmp_path):
    """A model with what is not part of it."""
    for name, text in {
        "config.json": "{}",
        "model.safetensors": "weights",
        "README.md": "an old card",
        "onnx/model.onnx": "graph",
        "checkpoint-100/model.safetensors": "old weights",
        ".lock": "",
        ".cache/x": "",
    }.items():
        path = tmp_path / "student" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "student"


def push(fake, folder, *, public=False, token=fakes.TOKEN):
    return hub.push(HfApi(endpoint=fake.address, token=token), "me/student", folder, CARD, public=public)


def test_folder_and_card_are_one_commit_in_a_private_repository(folder):
    with fakes.serve() as fake:
        address = push(fake, folder)
        assert address == f"{fake.address}/me/student/commit/{'1' * 40}"
    assert fake.private == {"me/student": True}
    assert fake.commits == ["Upload the model and its card"]
    assert {name: data.decode() for name, data in fake.files["me/student"].items()} == {
        "config.json": "{}",
        "model.safetensors": "weights",
        "onnx/model.onnx": "graph",
        **CARD,
    }
    assert fake.validated == [CARD["README.md"]]


def test_everybody_sees_it_only_when_asked(folder):
    with fakes.serve() as fake:
        push(fake, folder, public=True)
        assert fake.private == {"me/student": False}
    with fakes.serve(public=("me/student",)) as fake:
        with pytest.raises(UsageError, match="everybody can see this repository, and --public was not given"):
            push(fake, folder)
        assert fake.commits == []
        push(fake, folder, public=True)
        assert len(fake.commits) == 1


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        ({"/api/repos/create": 403}, "--push-to-hub me/student: the Hub did not take it.*403"),
        ({"/api/validate-yaml": 400}, "Invalid metadata in README.md"),
        ({"/commit/": 500}, "--push-to-hub me/student: the Hub did not take it"),
    ],
    ids=["no right to write", "card refused", "server trouble"],
)
def test_what_the_hub_refuses_is_said_and_nothing_is_half_there(folder, refuse, message):
    with fakes.serve(refuse=refuse) as fake:
        with pytest.raises(PublishError, match=message):
            push(fake, folder)
        assert not any(fake.files.values())


def test_a_wrong_token_is_refused(folder):
    with fakes.serve() as fake, pytest.raises(PublishError, match="401"):
        push(fake, folder, token="hf_wrong")


def test_a_push_without_a_token_is_refused_with_what_to_type(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UsageError, match=r"there is no token for the Hub. Type `hf auth login`"):
        hub.require_repository("me/student")
    monkeypatch.setenv("HF_TOKEN", fakes.TOKEN)
    hub.require_repository("me/student")


@pytest.mark.parametrize("name", ["student", "me/", "a/b/c", "../x", "me/stu dent"])
def test_what_cannot_be_a_repository(name):
    with pytest.raises(UsageError, match="expected a repository, NAMESPACE/NAME"):
        hub.require_repository(name)
