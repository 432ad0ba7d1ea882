"""Training data from files to batches, and a teacher's answers to them on disk, on tiny models."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
import torch
from fakes.tiny_families import CONFIGS, VOCAB_SIZE, make_model, make_tokenizer
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, MambaConfig

from distill_eval.distill import live_rows
from distill_eval.distill.blocks import Blocks
from distill_eval.distill.cached_signal import CachedSignal
from distill_eval.distill.data import load
from distill_eval.distill.data_config import DataConfig
from distill_eval.distill.isolation import find_isolation, forward_inputs
from distill_eval.distill.kept_rows import HiddenRows, SampledRows, TopKRows
from distill_eval.distill.teacher_cache import Teacher, write_cache
from distill_eval.errors import ArtifactError, DataError, ModelError, UsageError
from distill_eval.schema.teacher_cache import CacheKey

TEXTS = [f"Number {number} is {'very ' * (number % 23)}large." for number in range(120)]
CHATML = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
BY_MASK = {"opt"}
"""Families that transformers 5.19 gives a causal mask without looking at the position ids."""


@pytest.fixture(autouse=True)
def private_data_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf-datasets")


@pytest.fixture
def data(tmp_path):
    return write_texts(tmp_path / "data.jsonl")


def write_texts(path, texts=TEXTS):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


def loaded(data, tokenizer=None, batch_blocks=4, seed=0, **options):
    config = DataConfig(data=data, **({"max_length": 64} | options))
    return load(config, tokenizer or make_tokenizer(), seed=seed, batch_blocks=batch_blocks)


def text_of(row):
    """The documents of a row, each without its EOS, which they all have but those that go on in another row."""
    pieces, tokenizer = [], make_tokenizer()
    starts = [i for i, position in enumerate(row["position_ids"].tolist()) if position == 0]
    for start, end in zip(starts, [*starts[1:], len(row["input_ids"])], strict=True):
        pieces.append(tokenizer.decode(row["input_ids"][start:end].tolist()).removesuffix("<eos>"))
    return pieces


# ---- documents that do not see each other


def packed_rows(lengths=((13, 1, 20, 9), (30, 13))):
    """Two rows of documents, each with its tokens, and a batch of them."""
    generator = torch.Generator().manual_seed(0)
    rows = [[torch.randint(0, 256, (size,), generator=generator) for size in row] for row in lengths]
    batch = {
        "input_ids": torch.stack([torch.cat(row) for row in rows]),
        "position_ids": torch.stack([torch.cat([torch.arange(len(one)) for one in row]) for row in rows]),
    }
    return rows, batch


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", CONFIGS)
def test_packed_documents_get_the_logits_that_they_get_alone(family, attention):
    model = make_model(family)
    model.set_attn_implementation(attention)
    rows, batch = packed_rows()
    isolation = find_isolation(model)
    by_mask = "mask" if attention == "sdpa" else "added"
    assert isolation == (by_mask if family in BY_MASK else "positions")
    with torch.inference_mode():
        packed = model(**forward_inputs(batch, isolation)).logits
        alone = [torch.cat([model(one[None], use_cache=False).logits[0] for one in row]) for row in rows]
    torch.testing.assert_close(packed, torch.stack(alone), rtol=1e-5, atol=1e-5)


def test_a_forward_with_a_cache_would_see_across():
    """Why `forward_inputs` says use_cache=False: transformers ignores packing as soon as there is a cache."""
    model, (_, batch) = make_model("llama"), packed_rows()
    inputs = forward_inputs(batch, "positions")
    with torch.inference_mode():
        apart = model(**inputs).logits
        across = model(**inputs | {"use_cache": True}).logits
    assert (apart - across)[:, 30:].abs().max() > 0.1


def test_a_family_that_cannot_keep_documents_apart_is_known():
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=VOCAB_SIZE, hidden_size=16, num_hidden_layers=2, state_size=4)
    assert find_isolation(AutoModelForCausalLM.from_config(config)) == "none"


def test_the_probe_leaves_the_model_as_it_was():
    model = make_model("llama").train()
    find_isolation(model)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_padded_rows_get_the_logits_that_they_get_alone(data):
    model, made = make_model("gpt2"), loaded(data, packing="none", max_length=128)
    rows = [made.train[index] for index in range(3)]
    with torch.inference_mode():
        padded = model(**forward_inputs(made.collate(rows), "positions")).logits
        for row, logits in zip(rows, padded, strict=True):
            alone = model(row["input_ids"][None], use_cache=False).logits[0]
            torch.testing.assert_close(logits[: len(alone)], alone, rtol=1e-5, atol=1e-5)


# ---- from a file to batches


def test_isolated_rows_hold_every_document_once(data):
    made = loaded(data, max_length=256)
    train = [piece for row in made.train for piece in text_of(row)]
    validation = [piece for row in made.validation for piece in text_of(row)]
    assert sorted(train + validation) == sorted(TEXTS)
    assert len(validation) == 1


@pytest.mark.parametrize("packing", ["isolated", "crossing", "none"])
def test_counts(packing, data):
    made = loaded(data, packing=packing)
    lengths = [len(text) + 1 for text in TEXTS if text not in text_of(make_whole(made.validation))]
    assert made.train.counts.num_documents == len(lengths) == 119
    assert made.train.counts.num_held_out == 1
    assert made.train.num_scored_tokens == sum(lengths) - 119
    if packing != "crossing":
        assert made.train.counts.num_split == sum(length > 64 for length in lengths)
    used = sum(len(row["input_ids"]) for row in made.train)
    assert made.train.num_tokens == used
    assert made.train.padding_share == 1 - used / (64 * len(made.train))
    assert made.train.padding_share < {"isolated": 0.05, "crossing": 0.01, "none": 0.6}[packing]


def make_whole(blocks):
    """All windows of a single validation document as one row."""
    return {
        "input_ids": torch.cat([row["input_ids"] for row in blocks]),
        "position_ids": torch.arange(sum(len(row["input_ids"]) for row in blocks)),
    }


def test_the_same_options_give_the_same_rows(data):
    digests = {loaded(data).train.digest for _ in range(2)}
    assert len(digests) == 1
    others = [loaded(data, seed=5), loaded(data, max_length=65), loaded(data, packing="crossing")]
    upper = make_tokenizer()
    upper.eos_token = "<bos>"
    others.append(loaded(data, tokenizer=upper))
    assert len({*digests, *(other.train.digest for other in others)}) == 5


def test_streaming_gives_the_same_rows_and_starts_again(data):
    stored = loaded(data, validation_data=data, validation_documents=2)
    stream = loaded(data, streaming=True, validation_documents=2)
    assert stream.validation.digest == stored.validation.digest
    for _ in range(2):
        rows = list(islice(stream.train, len(stored.train)))
        assert [row["input_ids"].tolist() for row in rows] == [row["input_ids"].tolist() for row in stored.train]
        assert [row["shift_labels"].tolist() for row in rows] == [row["shift_labels"].tolist() for row in stored.train]
    loader = DataLoader(stream.train, batch_size=4, collate_fn=stream.collate)
    assert [batch["index"].tolist() for batch in islice(loader, 2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def conversations(path):
    rows = [
        [{"role": "user", "content": text}, {"role": "assistant", "content": f"Yes, {number}."}]
        for number, text in enumerate(TEXTS)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return str(path)


def test_conversations_are_trained_on_their_answers(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML
    made = loaded(conversations(tmp_path / "chat.jsonl"), tokenizer, max_length=256)
    assert made.train.num_scored_tokens == sum(
        len(f"Yes, {number}.\n")
        for number in range(120)
        if f"Number {number} is" not in str(text_of(made.validation[0]))
    )
    row = made.train[0]
    labels = [label for label in row["shift_labels"].tolist() if label != -100]
    assert tokenizer.decode(labels).startswith("Yes, ")


def test_what_is_refused_before_any_work(tmp_path, data):
    with pytest.raises(UsageError, match=r"less than one batch of 500. Give more text, or lower --batch-size"):
        loaded(data, batch_blocks=500)
    with pytest.raises(ModelError, match="has no chat template, and the data are conversations"):
        bare = make_tokenizer()
        bare.chat_template = None
        loaded(conversations(tmp_path / "chat.jsonl"), bare)
    endless = make_tokenizer()
    endless.eos_token = None
    with pytest.raises(ModelError, match="has no EOS token"):
        loaded(data, endless)
    with pytest.raises(DataError, match="has no text"):
        loaded(write_texts(tmp_path / "empty.jsonl", ["", " "]))


def test_validation_that_predicts_nothing_is_refused(tmp_path):
    rows = [[{"role": "user", "content": text}] for text in TEXTS]
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML
    with pytest.raises(UsageError, match="held out for validation have no token to predict"):
        loaded(str(path), tokenizer)


# ---- a teacher's answers on disk


def key_of(blocks: Blocks, kind, **changes):
    drawn = kind != "hidden"
    fields = {
        "kind": kind,
        "teacher_digest": "a" * 64,
        "teacher_dtype": "float32",
        "tokenizer_digest": "b" * 64,
        "data_digest": blocks.digest,
        "num_blocks": len(blocks),
        "vocab_size": VOCAB_SIZE,
        "temperature": 2.0 if drawn else None,
        "num_kept": 20 if drawn else None,
        "seed": 0 if kind == "sample" else None,
    }
    return CacheKey(**(fields | changes))


def write(folder, made, key, answer, **options):
    teacher = Teacher("tiny", answer, batch_size=4)
    options = {"collate": made.collate, "progress": lambda done, total: None} | options
    return write_cache(folder, key, made.train, teacher, **options)


def scored_logits(model, batch):
    with torch.inference_mode():
        logits = model(**forward_inputs(batch, find_isolation(model))).logits
    return logits[batch["shift_labels"] != -100]


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2"])
def test_the_cache_holds_what_the_live_teacher_says(family, tmp_path, data):
    model, made = make_model(family), loaded(data)
    ask = live_rows.ask(model, temperature=2.0, layers=(), vocab_size=VOCAB_SIZE, isolation=find_isolation(model))
    write(tmp_path / "top", made, key_of(made.train, "top_k"), ask)
    write(tmp_path / "drawn", made, key_of(made.train, "sample"), ask)
    expected = {"data_digest": made.train.digest, "temperature": 2.0}
    batch = made.collate([made.train[index] for index in (3, 0, 5)])
    log_probs = (scored_logits(model, batch) / 2).log_softmax(-1)

    top = CachedSignal(tmp_path / "top", expected).rows(batch["index"], TopKRows)
    torch.testing.assert_close(top.log_probs_NK, log_probs.gather(1, top.ids_NK), rtol=2e-3, atol=2e-3)
    drawn = CachedSignal(tmp_path / "drawn", expected).rows(batch["index"], SampledRows)
    torch.testing.assert_close(drawn.entropy_N, -(log_probs.exp() * log_probs).sum(-1), rtol=1e-4, atol=1e-4)
    shares = torch.zeros_like(log_probs).scatter_add_(1, drawn.ids_NK, torch.full(drawn.ids_NK.shape, 1 / 20))
    assert (shares - log_probs.exp()).abs().max() < 1 / 20 + 1e-4


@pytest.mark.parametrize("kind", ["hidden", "sample", "top_k"])
def test_hidden_states_are_those_of_the_live_teacher(kind, tmp_path, data):
    model, made = make_model("llama"), loaded(data)
    key = key_of(made.train, kind, layers=(1, 4), num_layers=6, hidden_size=32)
    options = {"vocab_size": VOCAB_SIZE, "isolation": "positions"}
    write(tmp_path / "both", made, key, live_rows.ask(model, temperature=key.temperature, layers=(1, 4), **options))
    batch = made.collate([made.train[index] for index in (3, 0)])
    cache = CachedSignal(tmp_path / "both", {"data_digest": made.train.digest})
    found = cache.rows(batch["index"], HiddenRows)
    with torch.inference_mode():
        states = model(**forward_inputs(batch, "positions"), output_hidden_states=True).hidden_states
    scored = batch["shift_labels"] != -100
    expected = torch.stack([states[2][scored], states[5][scored]], dim=1)
    torch.testing.assert_close(found.hidden_NLD, expected, rtol=2**-10, atol=1e-4)
    if kind == "hidden":
        return
    plain = key_of(made.train, kind)
    write(tmp_path / "soft", made, plain, live_rows.ask(model, temperature=2.0, layers=(), **options))
    alone = CachedSignal(tmp_path / "soft", {"data_digest": made.train.digest})
    rows = {"sample": SampledRows, "top_k": TopKRows}[kind]
    for one, other in zip(cache.rows(batch["index"], rows), alone.rows(batch["index"], rows), strict=True):
        assert torch.equal(one, other)  # the soft labels beside hidden states are those without
    with pytest.raises(UsageError, match=f"holds {kind} rows, not HiddenRows"):
        alone.rows(batch["index"], HiddenRows)


def test_a_shuffled_loader_finds_the_rows_of_its_batches(tmp_path, data):
    model, made = make_model("llama"), loaded(data)
    ask = live_rows.ask(model, temperature=2.0, layers=(), vocab_size=VOCAB_SIZE, isolation="positions")
    write(tmp_path / "top", made, key_of(made.train, "top_k"), ask)
    signal_ = CachedSignal(tmp_path / "top", {"data_digest": made.train.digest})
    loader = DataLoader(
        made.train, batch_size=8, shuffle=True, collate_fn=made.collate, generator=torch.Generator().manual_seed(0)
    )
    batch = next(iter(loader))
    rows = signal_.rows(batch["index"], TopKRows)
    best = rows.ids_NK.gather(1, rows.log_probs_NK.argmax(-1, keepdim=True))
    log_probs = (scored_logits(model, batch) / 2).log_softmax(-1)
    assert (log_probs.amax(-1) - log_probs.gather(1, best)[:, 0]).max() < 0.01  # rounded on disk


def teacher_llama():
    """A tiny teacher that is asked for soft labels."""
    model = make_model("llama")
    return live_rows.ask(model, temperature=2.0, layers=(), vocab_size=VOCAB_SIZE, isolation="positions")


KILLED = """
import sys
sys.path[:0] = {path!r}
from integration.test_distill_data import killed_run
killed_run(*sys.argv[1:])
"""


def killed_run(data, folder):
    """Write a cache so slowly that it can be killed on the way."""
    made = loaded(data)
    ask = teacher_llama()

    def slowly(batch):
        time.sleep(0.3)
        return ask(batch)

    write(Path(folder), made, key_of(made.train, "sample"), slowly, blocks_per_shard=4)


def test_a_killed_run_ends_with_the_same_files(tmp_path, data):
    made = loaded(data)
    ask = teacher_llama()
    write(tmp_path / "whole", made, key_of(made.train, "sample"), ask, blocks_per_shard=4)
    script = KILLED.format(path=sys.path)
    killed = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", script, data, str(killed)])
    deadline = time.monotonic() + 120
    while len(list(killed.glob("*.rows"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(list(killed.glob("*.rows")))
    assert 2 <= finished < len(list((tmp_path / "whole").glob("*.rows")))
    with pytest.raises(ArtifactError, match="is not finished"):
        CachedSignal(killed, {})
    asked = []

    def noted(batch):
        asked.extend(batch["index"].tolist())
        return ask(batch)

    write(killed, made, key_of(made.train, "sample"), noted, blocks_per_shard=4)
    assert asked[0] >= 4 * (finished - 1)  # the last shard may have been whole before the manifest named it
    read = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("*.rows")} for name in ("killed", "whole")]
    assert read[0] == read[1]
