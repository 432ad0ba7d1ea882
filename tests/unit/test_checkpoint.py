"""Where a model's files are, and what is said when they are not."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from distill_eval import checkpoint
from distill_eval.errors import ModelError, UsageError
from distill_eval.schema.model import ModelRef

INDEX = "model.safetensors.index.json"


def folder(tmp_path, *names, index=None):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    if index is not None:
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": index}))
    return tmp_path


def refused(path):
    with pytest.raises(ModelError) as caught:
        checkpoint.locate_with_weights(ModelRef(name=str(path)), ["*.json"], role="model")
    return str(caught.value)


def test_the_weights_are_those_that_transformers_reads(tmp_path):
    index = {"a": "model_00001.safetensors", "b": "model_00002.safetensors", "c": "model_00001.safetensors"}
    place = folder(tmp_path, *index.values(), "consolidated.safetensors", index=index)
    assert checkpoint.locate_with_weights(ModelRef(name=str(place)), ["*.json"], role="model") == place
    assert checkpoint.weight_files(place) == [place / "model_00001.safetensors", place / "model_00002.safetensors"]
    folder(tmp_path, "model.safetensors")
    assert checkpoint.weight_files(place) == [place / "model.safetensors"]


def test_a_missing_shard_is_named(tmp_path):
    place = folder(tmp_path, "model-1.safetensors", index={"a": "model-1.safetensors", "b": "model-2.safetensors"})
    assert "model-2.safetensors, which is missing" in refused(place)


def test_weights_under_another_name_are_not_weights(tmp_path):
    assert "no weights" in refused(folder(tmp_path, "consolidated.safetensors", "config.json"))


def test_a_damaged_index_is_named(tmp_path):
    place = folder(tmp_path)
    (place / INDEX).write_text("{")
    assert INDEX in refused(place)


def test_pickle_weights_are_named_and_refused(tmp_path):
    said = refused(folder(tmp_path, "pytorch_model.bin"))
    assert "pickle weights only (pytorch_model.bin)" in said
    assert "safetensors" in said


def test_what_a_trainer_leaves_is_not_taken_for_weights(tmp_path):
    assert "no weights" in refused(folder(tmp_path, "training_args.bin", "optimizer.pt", "scheduler.pt"))


def test_a_folder_has_no_revision(tmp_path):
    with pytest.raises(UsageError, match="has no revision"):
        checkpoint.locate(ModelRef(name=str(tmp_path), revision="main"), ["*.json"], role="model")


@pytest.fixture
def hub(monkeypatch):
    """A Hub which knows no revision, no repository, or a gated one, by the name that is asked for."""
    codes = {"no-revision": (404, "RevisionNotFound"), "gated": (403, "GatedRepo"), "no-repo": (401, "RepoNotFound")}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, code = next(value for name, value in codes.items() if name in self.path)
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("org/no-revision@v9", "model 'org/no-revision@v9' has no such revision on http://127.0.0.1"),
        ("org/gated", "is gated: accept its terms"),
        ("org/no-repo", "is neither a folder nor a model on"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(hub, name, words):
    with pytest.raises(ModelError) as caught:
        checkpoint.locate(ModelRef.parse(name), ["*.json"], role="model")
    assert words in str(caught.value)


def test_a_folders_digest_is_of_names_and_contents_alone(tmp_path):
    places = [tmp_path / "one", tmp_path / "other"]
    for place in places:
        place.mkdir()
        folder(place, "config.json", "model.safetensors")
    digests = [checkpoint.content_digest(place.iterdir()) for place in places]
    x = hashlib.sha256(b"x").hexdigest()
    expected = hashlib.sha256(f"config.json {x}\nmodel.safetensors {x}\n".encode()).hexdigest()
    assert digests == [expected, expected]
    assert checkpoint.content_digest(sorted(places[0].iterdir(), reverse=True)) == expected
    (places[1] / "config.json").write_bytes(b"y")
    assert checkpoint.content_digest(places[1].iterdir()) != expected
    assert checkpoint.content_digest(places[0].iterdir(), lambda path: path.suffix) != expected
