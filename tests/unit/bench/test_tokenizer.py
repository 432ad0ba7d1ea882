"""The tokenizer that counts is transformers' own, or the same."""

import json
import subprocess
import sys

import pytest
from fakes.tiny_families import save
from transformers import AutoTokenizer

from distill_eval.bench.tokenizer import FileTokenizer, load

TEXTS = ("the cat sat", "  two  spaces and\ttabs\n", "numbers 1234 and signs ?!")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer")
    save("llama", path, seed=0)
    return path


def test_the_file_alone_says_what_transformers_says(folder):
    found, expected = load(str(folder)), AutoTokenizer.from_pretrained(folder)
    assert isinstance(found, FileTokenizer)
    assert found.get_vocab() == expected.get_vocab()
    assert set(expected.all_special_ids) <= set(found.all_special_ids)
    for text in TEXTS:
        for special in (True, False):
            ids = expected(text, add_special_tokens=special)["input_ids"]
            assert found(text, add_special_tokens=special) == {"input_ids": ids}
            assert found.decode(ids, skip_special_tokens=True) == expected.decode(
                ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )


def test_a_tokenizer_that_transformers_makes_otherwise_is_transformers_own(folder, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": True}))
    assert not isinstance(load(str(tmp_path)), FileTokenizer)


def test_a_server_of_somebody_else_is_measured_without_torch():
    code = "import sys; from distill_eval.bench import run, sent, tokenizer\n"
    code += "print([name for name in ('torch', 'transformers', 'datasets', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "seconds before the first request"
