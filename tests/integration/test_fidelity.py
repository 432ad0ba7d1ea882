"""`fidelity` and `peek` on tiny models, from the command line to the files."""

import json
import logging
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.tiny_families import VOCAB_SIZE, make_tokenizer, save
from fakes.tiny_variants import save_original, save_w8a8
from fakes.two_tokenizers import byte_level, fallback, save_with
from scipy.special import rel_entr
from transformers import AutoModelForCausalLM

from distill_eval import cli
from distill_eval.engine import hf
from distill_eval.fidelity import reference
from distill_eval.fidelity.rows import Shape
from distill_eval.fidelity.text import Chunk
from distill_eval.store import Store
from distill_eval.tell import in_silence

LINES = [f"In the year {year} the river rose by {year % 7} feet, and {year % 5} boats were lost." for year in range(60)]
LENGTH, NUM = 32, 6


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Models with one tokenizer, two with others, and a text."""
    root = tmp_path_factory.mktemp("fidelity")
    teacher = save("llama", root / "teacher", seed=0)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    teacher.save_pretrained(root / "near")
    make_tokenizer().save_pretrained(root / "near")
    save_with(byte_level(LINES, 300), "llama", root / "words", seed=2)
    save_with(fallback(LINES, 320), "llama", root / "sentences", seed=3)
    (root / "text.txt").write_text("\n".join(LINES), encoding="utf-8")
    return root


def options(root, output, **changes):
    values = {
        "reference": root / "teacher",
        "candidate": root / "near",
        "text": root / "text.txt",
        "text_samples": NUM,
        "text_length": LENGTH,
        "device": "cpu",
        "output_dir": output,
        **changes,
    }
    return ["fidelity", *(f"--{name.replace('_', '-')}={value}" for name, value in values.items())]


def measured(root, output, **changes):
    assert cli.main(options(root, output, **changes)) == 0
    return json.loads((output / "fidelity.json").read_text())


def by_hand(root, candidate, first):
    """Log-probabilities of both models at the scored positions, and the true tokens, from transformers alone."""
    tokenizer = make_tokenizer()
    ids = tokenizer("\n".join(LINES))["input_ids"][: NUM * LENGTH]
    rows = []
    for name in ("teacher", candidate):
        model = AutoModelForCausalLM.from_pretrained(root / name)
        with torch.no_grad():
            logits = model(torch.tensor(ids).view(NUM, LENGTH)).logits[:, first : LENGTH - 1]
        rows.append(logits.double().log_softmax(-1).numpy())
    return *rows, np.array(ids).reshape(NUM, LENGTH)[:, first + 1 :]


@pytest.mark.parametrize(("scored", "first"), [("second-half", LENGTH // 2), ("all", 0)])
def test_every_measure_is_that_of_the_whole_distributions(root, tmp_path, scored, first):
    found = measured(root, tmp_path, top_k=VOCAB_SIZE, scored=scored)
    p, q, true = by_hand(root, "near", first)
    tokens = found["candidates"][0]["tokens"]
    kl = rel_entr(np.exp(p), np.exp(q)).sum(-1)
    assert tokens["kl"]["mean"]["value"] == pytest.approx(kl.mean(), rel=1e-4)
    assert tokens["kl"]["mean"]["stderr"] == pytest.approx(kl.mean(1).std(ddof=1) / NUM**0.5, rel=1e-4)
    assert tokens["kl"]["maximum"] == pytest.approx(kl.max(), rel=1e-4)
    assert tokens["reverse_kl"]["mean"]["value"] == pytest.approx(
        rel_entr(np.exp(q), np.exp(p)).sum(-1).mean(), rel=1e-4
    )
    assert tokens["top1_agreement"]["value"] == pytest.approx((p.argmax(-1) == q.argmax(-1)).mean())
    at = [np.take_along_axis(rows, true[:, :, None], -1)[:, :, 0] for rows in (p, q)]
    delta = np.exp(at[1]) - np.exp(at[0])
    assert tokens["rms_delta_p"]["value"] == pytest.approx(np.sqrt((delta**2).mean()), rel=1e-4)
    assert tokens["mean_delta_p"]["value"] == pytest.approx(delta.mean(), abs=1e-7)
    assert found["reference_perplexity"]["value"] == pytest.approx(np.exp(-at[0].mean()), rel=1e-4)
    assert tokens["perplexity_ratio"]["value"] == pytest.approx(np.exp((at[0] - at[1]).mean()), rel=1e-4)
    assert found["num_scored"] == found["num_bytes"] == true.size  # every byte is a token
    bits = -at[1].sum() / np.log(2) / true.size
    assert found["candidates"][0]["bits_per_byte"]["value"] == pytest.approx(bits, rel=1e-4)


def test_what_is_kept_serves_the_next_candidate_without_the_model(root, tmp_path, capsys):
    first = measured(root, tmp_path / "a")
    assert first["kept"]["reused"] is False
    again = measured(root, tmp_path / "b", candidate=f"{root / 'near'},{root / 'teacher'}")
    assert again["kept"]["reused"] is True
    assert "found in the cache" in capsys.readouterr().out
    assert again["candidates"][0]["tokens"] == first["candidates"][0]["tokens"]
    itself = again["candidates"][1]["tokens"]
    assert itself["kl"]["maximum"] == itself["jsd"]["maximum"] == itself["rms_delta_p"]["value"] == 0
    assert (
        itself["top1_agreement"]["value"] == itself["top5_overlap"]["value"] == itself["perplexity_ratio"]["value"] == 1
    )
    for change in ({"top_k": 32}, {"text_length": 30}, {"seed": 1}, {"scored": "all"}, {"reference": root / "near"}):
        assert measured(root, tmp_path / "c", **change)["kept"]["reused"] is False


def test_what_is_kept_belongs_to_the_versions_that_made_it(root, tmp_path):
    save_original(tmp_path / "plain")
    save_w8a8(tmp_path / "plain", tmp_path / "packed")
    found = measured(root, tmp_path / "out", reference=tmp_path / "packed", text_samples=1)
    (entry,) = Path(Store().root).glob("reference/*.entry")
    parts = json.loads(entry.read_bytes().partition(b"\n")[0])["parts"]
    assert parts["unpacked_by"] == f"compressed-tensors {version('compressed-tensors')}"
    assert parts["engine_version"] == f"transformers {version('transformers')}, torch {version('torch')}"
    assert parts["vocab_size"] == found["reference"]["vocab_size"] == VOCAB_SIZE


def test_what_is_damaged_is_computed_again(root, tmp_path, caplog):
    first = measured(root, tmp_path)
    (entry,) = Path(Store().root).glob("reference/*.entry")
    data = bytearray(entry.read_bytes())
    data[-20] ^= 1
    entry.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        again = measured(root, tmp_path)
    assert "is damaged" in caplog.text
    assert again["kept"]["reused"] is False
    assert again["candidates"] == first["candidates"]


class Dies:
    """A model that is killed at its third chunk."""

    def __init__(self, folder):
        self._inner, self._left = hf.load(folder), 2

    def logits(self, ids):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._inner.logits(ids)


class Counts:
    """A model that counts what it is asked."""

    def __init__(self, folder):
        self._inner, self.num_asked = hf.load(folder), 0

    def logits(self, ids):
        self.num_asked += 1
        return self._inner.logits(ids)


def test_a_killed_run_goes_on_with_the_chunk_it_was_at(root, tmp_path):
    chunks = [Chunk(list(range(start, start + 12)), 6, "", "") for start in range(5)]
    shape, counting = Shape(VOCAB_SIZE, 20, 8), Counts(root / "teacher")

    def keep(store, model):
        return reference.keep(store, {"a": 1}, chunks, shape, seed=0, load=lambda: model, each=in_silence)

    with pytest.raises(KeyboardInterrupt):
        keep(Store(tmp_path / "killed"), Dies(root / "teacher"))
    resumed = keep(Store(tmp_path / "killed"), counting)
    assert counting.num_asked == 3
    assert resumed.blocks == keep(Store(tmp_path / "whole"), Counts(root / "teacher")).blocks


def resized(root, name, size, output):
    """A model of `root` with another number of logits, the new ones as likely as the others."""
    model = AutoModelForCausalLM.from_pretrained(root / name)
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        model.get_output_embeddings().weight[VOCAB_SIZE:].normal_(std=0.2, generator=torch.Generator().manual_seed(4))
    model.save_pretrained(output)
    make_tokenizer().save_pretrained(output)
    return model


def test_other_padding_of_the_vocabulary_is_left_out(root, tmp_path):
    """260 logits beside 275 of which the tokenizer has 258: both are renormalized over the first 260."""
    teacher = resized(root, "teacher", 275, tmp_path / "padded")
    found = measured(root, tmp_path / "out", reference=tmp_path / "padded", top_k=VOCAB_SIZE)
    _, q, true = by_hand(root, "near", LENGTH // 2)
    ids = torch.tensor(make_tokenizer()("\n".join(LINES))["input_ids"][: NUM * LENGTH]).view(NUM, LENGTH)
    with torch.no_grad():
        logits = teacher(ids).logits[:, LENGTH // 2 : LENGTH - 1].double()
    assert logits.softmax(-1)[..., VOCAB_SIZE:].sum(-1).mean() > 0.01, "what is left out would be seen"
    p = logits[..., :VOCAB_SIZE].log_softmax(-1).numpy()
    tokens = found["candidates"][0]["tokens"]
    assert tokens["kl"]["mean"]["value"] == pytest.approx(rel_entr(np.exp(p), np.exp(q)).sum(-1).mean(), rel=1e-4)
    theirs = np.take_along_axis(p, true[:, :, None], -1)
    assert found["reference_perplexity"]["value"] == pytest.approx(np.exp(-theirs.mean()), rel=1e-4)
    assert found["reference"]["vocab_size"] == 275


def test_fewer_logits_than_tokens_are_another_model(root, tmp_path):
    resized(root, "near", 257, tmp_path / "cut")
    file = tmp_path / "cut" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token_id": 0, "eos_token_id": 0}))
    (candidate,) = measured(root, tmp_path / "out", candidate=tmp_path / "cut", continuations=1)["candidates"]
    assert candidate["tokens"] is None
    assert "it has 257 logits" in candidate["tokens_reason"]


def test_a_report_is_gone_before_other_facts_are_written(root, tmp_path, capsys):
    measured(root, tmp_path)
    (tmp_path / "fidelity.json").unlink()
    (tmp_path / "fidelity.json").mkdir()
    assert cli.main(options(root, tmp_path, text_samples=2)) == 1
    assert f"cannot write {tmp_path / 'fidelity.json'}" in capsys.readouterr().err
    assert not (tmp_path / "fidelity.md").exists()


def test_what_would_fail_behind_the_first_pass_is_said_before_it(root, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert cli.main(options(root, tmp_path / "file")) == 2
    assert f"--output-dir {tmp_path / 'file'} is a file" in capsys.readouterr().err
    shutil.copytree(root / "near", tmp_path / "packed")
    config = json.loads((root / "near" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    (tmp_path / "packed" / "config.json").write_text(json.dumps(config))
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    assert cli.main(options(root, tmp_path / "out", candidate=f"{root / 'near'},{tmp_path / 'packed'}")) == 1
    told = capsys.readouterr()
    assert "which needs compressed_tensors. Type: pip install compressed-tensors" in told.err
    assert "chunks" not in told.out
    assert not list(Path(Store().root).glob("reference/*"))


@pytest.mark.parametrize("other", ["words", "sentences"])
def test_another_tokenizer_is_compared_by_its_text(root, tmp_path, other, capsys):
    found = measured(root, tmp_path, candidate=root / other, continuations=3, continuation_tokens=5)
    (candidate,) = found["candidates"]
    assert candidate["tokens"] is None
    assert "cuts the text into other tokens" in candidate["tokens_reason"]
    assert candidate["tokens_reason"] in " ".join(capsys.readouterr().out.split())
    bits, num_bytes = bits_by_hand(root, other)
    assert candidate["bits_per_byte"]["value"] == pytest.approx(bits / num_bytes, rel=1e-4)
    texts = candidate["continuations"]["texts"]
    assert [text["chunk"] for text in texts] == [0, 1, 2]
    before = "\n".join(LINES)[: LENGTH // 2 + 1]
    tokenizer = make_tokenizer()
    expected = hf.load(root / "teacher").greedy(tokenizer(before)["input_ids"], 5)
    assert texts[0]["reference"] == tokenizer.decode(expected, skip_special_tokens=True)
    page = (tmp_path / "fidelity.md").read_text()
    assert f"## Texts of `{other}`" in page
    assert "in the lines of llama.cpp" not in page


def bits_by_hand(root, name):
    """Of the second half of each chunk, a token across the cut included."""
    model = hf.load(root / name)
    whole = "\n".join(LINES)
    bits = num_bytes = 0.0
    for start in range(0, NUM * LENGTH, LENGTH):
        text, cut = whole[start : start + LENGTH], LENGTH // 2 + 1
        encoded = model.tokenizer(text, return_offsets_mapping=True)
        ids, ends = encoded["input_ids"], [end for _, end in encoded["offset_mapping"]]
        rows = model.logits(ids).double().log_softmax(-1)
        scored = [place for place in range(1, len(ids)) if ends[place] > cut]
        bits -= sum(float(rows[place - 1, ids[place]]) for place in scored) / np.log(2)
        num_bytes += len(text[ends[scored[0] - 1] :].encode())
    return bits, num_bytes


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"text_column": "body", "text": "{root}/text.jsonl"}, 2, "has no column 'body': name one of text"),
        ({"text_samples": 500}, 2, "500 chunks of 32 need 16,000: name more text, or type --text-samples"),
        ({"text": "{root}/none.txt"}, 2, "none.txt: no such file"),
        ({"text_length": 129}, 2, "--text-length 129: {root}/teacher reads 128 tokens"),
        ({"engine": "vllm"}, 2, "Type --engine hf"),
        ({"engine": "onnx"}, 2, "has no genai_config.json. Leave --engine out"),
        ({"candidate": "{root}/nobody"}, 1, "candidate '{root}/nobody' is not a folder"),
        ({"candidate": ""}, 2, "--candidate '': expected a model, or several"),
        ({"top_k": 4}, 2, "--top-k 4: expected 5 or more"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(root, tmp_path, capsys, changes, code, message):
    (root / "text.jsonl").write_text(json.dumps({"text": LINES[0]}))
    changes = {name: str(value).replace("{root}", str(root)) for name, value in changes.items()}
    assert cli.main(options(root, tmp_path / "out", **changes)) == code
    told = capsys.readouterr()
    assert message.replace("{root}", str(root)) in told.err
    assert "chunks" not in told.out
    assert not (tmp_path / "out").exists()


def test_peek_shows_every_model_with_its_own_tokens(root, capsys):
    arguments = ["--model", f"{root / 'teacher'},{root / 'words'}", "--prompt", "the river", "--top-k", "3", "--json"]
    assert cli.main(["peek", *arguments, "--temperature", "1,2.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    for name, peeked in zip(("teacher", "words"), found["models"], strict=True):
        model = hf.load(root / name)
        logits = model.logits(model.tokenizer("the river")["input_ids"])[-1].double()
        best = logits.topk(3).indices.tolist()
        assert [token["id"] for token in peeked["tokens"]] == best
        for soft, temperature in zip(peeked["softened"], (1.0, 2.5), strict=True):
            probs = (logits / temperature).softmax(-1)
            assert soft["probs"] == pytest.approx(probs[best].tolist())
            assert soft["entropy"] == pytest.approx(float(-(probs * probs.log()).sum()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "1,0"], "--temperature 0: expected numbers above 0"),
        (["--temperature", "1,-2"], "--temperature -2: expected numbers above 0"),
        (["--temperature", "hot"], "--temperature 'hot': expected numbers above 0"),
        (["--prompt", ""], "--prompt is empty"),
        (["--top-k", "0"], "--top-k 0: expected 1 or more"),
    ],
)
def test_peek_refuses_what_makes_no_sense(root, capsys, arguments, message):
    assert cli.main(["peek", "--model", str(root / "teacher"), "--prompt", "a", *arguments]) == 2
    assert message in capsys.readouterr().err
