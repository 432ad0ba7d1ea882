import json
import logging
import multiprocessing

import pytest
import torch
from unit.distill_data.build import blocks_of, cache_key, peaked

from distill_eval.distill.blocks import Collator
from distill_eval.distill.cached_signal import CachedSignal
from distill_eval.distill.kept_rows import HiddenRows, SampledRows, TopKRows
from distill_eval.distill.teacher_cache import Said, Teacher, write_cache
from distill_eval.errors import ArtifactError, ModelError, StoreError, UsageError
from distill_eval.record import from_json
from distill_eval.schema.teacher_cache import CacheManifest

VOCAB = 300
BLOCKS = blocks_of([6, 5, 2, 9, 1, 3, 8, 8, 7, 4, 20, 11])
NUM_ROWS = BLOCKS.num_scored_tokens
COLLATE = Collator("isolated", pad_id=0)


def log_probs_of(batch):
    """The teacher's answers to a batch, a function of the token and its position alone."""
    scored = batch["shift_labels"] != -100
    tokens, positions = batch["input_ids"][scored], batch["position_ids"][scored]
    table = peaked(97, VOCAB)
    return table[(tokens * 31 + positions) % 97]


class Answers:
    """A teacher that notes how often it is asked."""

    def __init__(self, chunk=7, answer=log_probs_of, fails_after=None):
        self.chunk, self.answer, self.fails_after = chunk, answer, fails_after
        self.asked = []

    def __call__(self, batch):
        self.asked += batch["index"].tolist()
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            raise KeyboardInterrupt
        for piece in self.answer(batch).split(self.chunk):
            yield Said(piece) if piece.ndim == 2 else Said(hidden_CLD=piece)


def key_of(kind="sample", blocks=BLOCKS, **changes):
    return cache_key(kind, VOCAB, data_digest=blocks.digest, num_blocks=len(blocks), **changes)


def write(folder, key=None, answers=None, batch_size=2, blocks=BLOCKS, **options):
    done = []
    manifest = write_cache(
        folder,
        key or key_of(),
        blocks,
        Teacher("org/teacher", answers or Answers(), batch_size),
        collate=COLLATE,
        progress=lambda *counts: done.append(counts),
        **({"blocks_per_shard": 3} | options),
    )
    assert done == [] or done[-1] == (len(blocks), len(blocks))
    return manifest


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.rows")}


def opened(folder, **expected):
    return CachedSignal(folder, {"data_digest": BLOCKS.digest} | expected)


# ---- what is written is read


def test_sampled_rows_come_back_for_any_batch(tmp_path):
    write(tmp_path)
    signal = opened(tmp_path, temperature=2.0)
    for index in ([0], [5, 1], [2, 2, 0], list(range(len(BLOCKS)))):
        batch = COLLATE([BLOCKS[number] for number in index])
        rows = signal.rows(batch["index"], SampledRows)
        probs = log_probs_of(batch).exp()
        num_kept = signal.manifest.key.num_kept
        counts = torch.zeros_like(probs).scatter_add_(1, rows.ids_NK, torch.ones_like(rows.ids_NK, dtype=torch.float))
        assert ((counts - num_kept * probs).abs() < 1 + 1e-3).all()
        torch.testing.assert_close(rows.entropy_N, torch.special.entr(probs).sum(-1))


def test_top_k_rows_come_back_in_the_order_of_the_scored_positions(tmp_path):
    write(tmp_path, key_of("top_k", num_kept=4))
    batch = COLLATE([BLOCKS[number] for number in (4, 0, 3)])
    rows = opened(tmp_path).rows(batch["index"], TopKRows)
    expected = log_probs_of(batch).topk(4)
    assert torch.equal(rows.ids_NK, expected.indices.sort(-1).values)
    torch.testing.assert_close(
        rows.log_probs_NK.sort(-1, descending=True).values, expected.values, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(rows.tail_N, 1 - expected.values.exp().sum(-1), rtol=1e-3, atol=1e-4)


def states_of(batch):
    return log_probs_of(batch)[:, :6].unflatten(1, (2, 3))


def test_hidden_states_come_back(tmp_path):
    write(tmp_path, key_of("hidden", layers=(0, 2), hidden_size=3, dtype="bfloat16"), Answers(answer=states_of))
    batch = COLLATE([BLOCKS[number] for number in (4, 0, 3)])
    rows = opened(tmp_path).rows(batch["index"], HiddenRows)
    torch.testing.assert_close(rows.hidden_NLD, states_of(batch), rtol=2**-8, atol=0)


def test_the_manifest_counts_what_is_on_disk(tmp_path):
    manifest = write(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.rows"))
    assert (manifest.num_rows, manifest.size_bytes) == (NUM_ROWS, size)
    assert manifest.bytes_per_token == size / NUM_ROWS
    assert [shard.num_blocks for shard in manifest.shards] == [3] * (len(BLOCKS) // 3) + [len(BLOCKS) % 3]
    assert from_json(CacheManifest, (tmp_path / "manifest.json").read_bytes(), source="manifest") == manifest


def test_a_long_data_set_stays_within_the_limit(tmp_path):
    blocks = blocks_of([200] * 20, max_length=128)
    manifest = write(tmp_path, key_of(blocks=blocks), blocks=blocks, blocks_per_shard=None)
    assert len(manifest.shards) == 1
    assert manifest.bytes_per_token < 128


# ---- the same bytes however it is made


@pytest.mark.parametrize("kind", ["sample", "top_k"])
def test_batches_and_chunks_change_nothing(kind, tmp_path):
    write(tmp_path / "a", key_of(kind))
    write(tmp_path / "b", key_of(kind), Answers(chunk=100), batch_size=3)
    write(tmp_path / "c", key_of(kind), Answers(chunk=1), batch_size=1)
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")


def test_the_seed_changes_the_draws(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", key_of(seed=1))
    index = torch.tensor([0])
    first, second = (opened(tmp_path / name).rows(index, SampledRows) for name in "ab")
    assert not torch.equal(first.ids_NK, second.ids_NK)
    assert torch.equal(first.entropy_N, second.entropy_N)


def test_an_interrupted_run_goes_on_at_its_next_shard(tmp_path):
    write(tmp_path / "whole")
    first = Answers(fails_after=4)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", answers=first)
    assert list(files(tmp_path / "cut")) == ["shard-00000.rows"]
    with pytest.raises(ArtifactError, match=r"is not finished: 1 of \d+ shards. Run the same cache-teacher command"):
        opened(tmp_path / "cut")
    second = Answers()
    write(tmp_path / "cut", answers=second)
    assert second.asked == list(range(3, len(BLOCKS)))
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_a_finished_cache_asks_nothing(tmp_path):
    manifest, again = write(tmp_path), Answers()
    assert write(tmp_path, answers=again) == manifest
    assert again.asked == []


@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_shard_is_said_and_made_again(harm, tmp_path, caplog):
    write(tmp_path)
    before, path = files(tmp_path), tmp_path / "shard-00001.rows"
    content = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if harm == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match="Run the same cache-teacher command again"):
        opened(tmp_path).rows(torch.tensor([3]), SampledRows)
    again = Answers()
    with caplog.at_level(logging.WARNING):
        write(tmp_path, answers=again)
    assert again.asked == [3, 4, 5]
    assert "shard-00001.rows" in caplog.text
    assert "it is computed again" in caplog.text
    assert files(tmp_path) == before


def test_what_a_killed_run_was_writing_is_removed(tmp_path):
    (tmp_path / ".tmp-0123").write_bytes(b"half")
    write(tmp_path)
    assert not (tmp_path / ".tmp-0123").exists()


def test_a_shard_that_the_manifest_does_not_name_is_replaced(tmp_path):
    write(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cut", answers=Answers(fails_after=4))
    (tmp_path / "cut" / "shard-00001.rows").write_bytes(b"from another time")
    write(tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


# ---- refusals


def test_another_cache_in_the_folder_is_refused_with_what_differs(tmp_path):
    write(tmp_path)
    with pytest.raises(UsageError) as raised:
        write(tmp_path, key_of(temperature=1.0, teacher_digest="d" * 64))
    assert "teacher_digest aaaaaaaaaaaa... there, dddddddddddd... here" in str(raised.value)
    assert "temperature 2.0 there, 1.0 here" in str(raised.value)
    assert "tokenizer_digest" not in str(raised.value)


def test_other_files_in_the_folder_are_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds other files \(thesis.tex\)"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [("teacher_digest", "d" * 64), ("tokenizer_digest", "d" * 64), ("data_digest", "d" * 64), ("temperature", 1.0)],
)
def test_a_reader_refuses_another_cache(field, value, tmp_path):
    write(tmp_path)
    with pytest.raises(UsageError, match=rf"holds the rows of org/teacher for something else: {field} .* there, "):
        opened(tmp_path, **{field: value})


def test_a_reader_refuses_other_folders_kinds_and_blocks(tmp_path):
    with pytest.raises(ArtifactError, match=r"is not a cached teacher: it has no manifest.json"):
        opened(tmp_path)
    write(tmp_path)
    with pytest.raises(UsageError, match="holds sample rows, not TopKRows"):
        opened(tmp_path).rows(torch.tensor([0]), TopKRows)
    with pytest.raises(UsageError, match=rf"holds blocks 0 to {len(BLOCKS) - 1}, not {len(BLOCKS)}"):
        opened(tmp_path).rows(torch.tensor([len(BLOCKS)]), SampledRows)


def test_a_manifest_of_another_version_is_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    with pytest.raises(ArtifactError, match="has version 99, expected 1"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda batch: log_probs_of(batch) * float("nan"), "org/teacher answers with nan, which is not a number"),
        (
            lambda batch: log_probs_of(batch)[:, :9],
            r"org/teacher answers with \(9,\) numbers per token; expected \(300,\)",
        ),
    ],
)
def test_answers_that_are_none(answer, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        write(tmp_path, answers=Answers(answer=answer))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda batch: log_probs_of(batch) + 3, "the answers are not log-probabilities"),
        (lambda batch: log_probs_of(batch)[1:], r"\d+ answers to \d+ scored positions"),
    ],
)
def test_a_caller_that_answers_wrongly(answer, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write(tmp_path, answers=Answers(answer=answer))


def test_hidden_states_that_do_not_fit_are_refused(tmp_path):
    key = key_of("hidden", layers=(0, 2), hidden_size=3)
    with pytest.raises(ModelError, match="is not a number that float16 holds"):
        write(tmp_path, key, Answers(answer=lambda batch: states_of(batch) * 1e6))


def test_two_processes_do_not_write_one_folder(tmp_path):
    ready, leave = multiprocessing.Event(), multiprocessing.Event()
    other = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, ready, leave))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(StoreError, match="another process is writing"):
            write(tmp_path)
    finally:
        leave.set()
        other.join(30)
    assert write(tmp_path).num_rows == NUM_ROWS


def hold(folder, ready, leave):
    from filelock import FileLock

    with FileLock(folder / ".lock"):
        ready.set()
        leave.wait(30)
