"""Which positions of two tokenizers have read the same text: by hand, and on real tokenizers."""

import numpy as np
import pytest
import torch
from fakes.two_tokenizers import byte_level, fallback, template
from hypothesis import given, settings
from hypothesis import strategies as st

from distill_eval.distill.alignment import NONE, Segment, Theirs, pair, read_up_to
from distill_eval.distill.blocks import Blocks, StreamedBlocks
from distill_eval.distill.chat import encode_conversations
from distill_eval.distill.packing import Counts, pack
from distill_eval.distill.paired_batches import PairedCollator, teacher_view
from distill_eval.distill.text import encode_texts
from distill_eval.distill.two_tokenizers import TwoTokenizers
from distill_eval.errors import DataError, ModelError

TEXTS = [
    "the heart of the matter is the heart of the thing",
    "a caf\u00e9 for 5 \u20ac, no more: \U0001f600!",
    "who is where\n\n  and why",
]


def read(spans, text):
    return read_up_to(np.array(spans), text).tolist()


def test_a_position_has_read_up_to_the_end_of_its_token():
    assert read([(0, 2), (2, 5), (0, 0)], "hello") == [2, 5, NONE]  # the last is an end-of-text
    assert read([(0, 0), (0, 5), (5, 8), (0, 0)], "hello yo") == [0, 5, 8, NONE]  # the first is a BOS


def test_inside_a_character_nothing_whole_has_been_read():
    euro = "5\u20ac!"
    assert read([(0, 1), (1, 2), (1, 2), (1, 2), (2, 3), (3, 3)], euro) == [1, NONE, NONE, 2, 3, NONE]
    assert read([(0, 2), (0, 2), (2, 3), (3, 3)], euro) == [NONE, 2, 3, NONE]


def test_white_space_that_a_tokenizer_throws_away_is_nothing_that_it_reads_and_other_text_is():
    assert read([(0, 5), (6, 8), (8, 8)], "hello yo ") == [5, 9, NONE]
    assert read([(0, 1), (2, 3), (3, 3)], "a\u0301b") == [NONE, 3, NONE]  # the accent was composed into the first token


def test_partners_have_read_the_same_text_by_hand():
    #          he|llo| wo|rld|.|<eos>    hello| |world.|<eos>
    ours = np.array([2, 5, 8, 11, 12, NONE])
    theirs = np.array([5, 6, 12, NONE])
    partner, num_bytes = pair(ours, theirs, [Segment(0, 0, 12)], "hello world.")
    assert partner.tolist() == [NONE, 0, NONE, NONE, 2, NONE]
    assert num_bytes.tolist() == [0, 0, 0, 0, 7, 0]


def test_bytes_are_those_of_utf8_and_segments_may_stand_elsewhere():
    text = "x\u00e9\u20ac\U0001f600"
    reads = np.array([0, 1, 2, 3, 4])
    _, num_bytes = pair(reads, reads, [Segment(0, 0, 4)], text)
    assert num_bytes.tolist() == [0, 1, 2, 3, 4]
    partner, num_bytes = pair(reads, reads + 10, [Segment(0, 10, 1), Segment(2, 12, 2)], text)
    assert partner.tolist() == [0, 1, 2, 3, 4]
    assert num_bytes.tolist() == [0, 1, 0, 3, 4]  # nothing between the segments


def test_a_window_begins_behind_the_last_text_that_both_had_read():
    partner = np.array([NONE, 0, NONE, 3, 4, NONE], dtype=np.int32)
    theirs = Theirs(np.arange(10, 16, dtype=np.uint32), partner, np.zeros(6, np.int32), limit=None)
    first, second = theirs.cut(0, 3), theirs.cut(3, 6)
    assert first.ids_K.tolist() == [10]
    assert first.partner_M.tolist() == [NONE, 0, NONE]
    assert second.ids_K.tolist() == [11, 12, 13, 14]
    assert second.partner_M.tolist() == [2, 3, NONE]
    with pytest.raises(DataError, match=r"reads 3 at most\. Lower --max-length"):
        theirs._replace(limit=3).cut(3, 6)


# ---- real tokenizers


@pytest.fixture(scope="module")
def tokenizers():
    return {
        "bytes": byte_level(TEXTS, 300, chat_template=template("[", "]")),
        "words": byte_level(TEXTS * 3, 420),
        "llama": fallback(TEXTS, 300, chat_template=template("<<", ">>")),
    }


def texts_with(tokenizers, ours, theirs, texts, limit=None):
    both = TwoTokenizers(tokenizers[ours], tokenizers[theirs], limit=limit)
    return both.add_to_texts(texts, encode_texts(tokenizers[ours], texts))


def check(tokenizer, other, tokens, text):
    """Every pair, recomputed: the text that each has read is what decoding its tokens gives."""
    found = 0
    for position, partner in enumerate(tokens.theirs.partner_M):
        if partner != NONE:
            ours = tokenizer.decode(tokens.ids_M[: position + 1], skip_special_tokens=True)
            theirs = other.decode(tokens.theirs.ids_K[: partner + 1], skip_special_tokens=True)
            assert ours.removeprefix(" ") == theirs.removeprefix(" ")  # a text for LLaMA's begins with a space
            assert text.startswith(ours.removeprefix(" "))
            found += 1
    return found


@pytest.mark.parametrize(
    ("ours", "theirs"), [("bytes", "words"), ("words", "bytes"), ("bytes", "llama"), ("llama", "words")]
)
def test_partners_have_read_what_decoding_says(tokenizers, ours, theirs):
    for text, tokens in zip(TEXTS, texts_with(tokenizers, ours, theirs, TEXTS), strict=True):
        assert check(tokenizers[ours], tokenizers[theirs], tokens, text) >= 5
        assert tokens.theirs.ids_K[-1] == tokenizers[theirs].eos_token_id
        assert tokens.theirs.partner_M[-2] == len(tokens.theirs.ids_K) - 2  # both predict the end of the text there


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ath eo\u00e9\u20ac\U0001f600\n."), min_size=1, max_size=30))
def test_one_tokenizer_with_itself_pairs_every_whole_character(tokenizers, text):
    if not text.strip():
        return
    [tokens] = texts_with(tokenizers, "words", "words", [text])
    paired = np.flatnonzero(tokens.theirs.partner_M != NONE)
    assert tokens.theirs.partner_M[paired].tolist() == paired.tolist()
    decoded = [tokenizers["words"].decode(tokens.ids_M[: n + 1]) for n in range(len(tokens.ids_M) - 1)]
    whole = [n for n, said in enumerate(decoded) if text.startswith(said)]
    assert paired.tolist() == whole
    first = len(decoded[paired[0]].encode())
    assert tokens.theirs.bytes_M.sum() == len(text.encode()) - first


def test_offsets_that_hide_the_space_change_nothing(tokenizers):
    plain = byte_level(TEXTS, 300, trim_offsets=False)
    hidden = texts_with(tokenizers, "bytes", "llama", TEXTS)
    shown = texts_with(tokenizers | {"bytes": plain}, "bytes", "llama", TEXTS)
    for a, b in zip(hidden, shown, strict=True):
        assert a.theirs.partner_M.tolist() == b.theirs.partner_M.tolist()


def test_conversations_are_read_in_each_models_template_and_compared_in_the_messages(tokenizers):
    ours, theirs = tokenizers["bytes"], tokenizers["llama"]
    conversation = [
        {"role": "user", "content": "who is a"},
        {"role": "assistant", "content": "a"},  # stands in "assistant" too
        {"role": "user", "content": "where"},
        {"role": "assistant", "content": "the heart of it"},
    ]
    encoded = encode_conversations(ours, [conversation])
    [tokens] = TwoTokenizers(ours, theirs, limit=None).add_to_conversations([conversation], encoded)

    def plain(text):  # LLaMA's begins with a space, and again behind every special token
        return text.removeprefix(" ").replace("<eos> ", "<eos>")

    assert plain(theirs.decode(tokens.theirs.ids_K)).startswith("<<user>>\nwho is a<eos><<assistant>>\na<eos>")
    scored = np.flatnonzero(np.append(tokens.target_M[1:], False) & (tokens.theirs.partner_M != NONE))
    said = [
        (ours.decode(tokens.ids_M[: n + 1]), theirs.decode(tokens.theirs.ids_K[: tokens.theirs.partner_M[n] + 1]))
        for n in scored
    ]
    assert all(plain(b) == a.replace("[", "<<").replace("]", ">>") for a, b in said)
    assert said[0][0].endswith("who is a<eos>[assistant]\n")
    assert said[1][0].endswith("[assistant]\na")
    assert said[-1][0].endswith("the heart of it")
    with pytest.raises(ModelError, match="no chat template"):
        TwoTokenizers(ours, tokenizers["words"], limit=None).add_to_conversations([conversation], encoded)


# ---- rows


def rows_of(tokenizers, packing="isolated", max_length=24):
    tokens = texts_with(tokenizers, "bytes", "llama", TEXTS)

    def made():
        return pack(tokens, max_length=max_length, packing=packing, counts=Counts())

    blocks = Blocks(made(), packing=packing, max_length=max_length, counts=Counts())
    return blocks, StreamedBlocks(made), tokens


@pytest.mark.parametrize("packing", ["isolated", "none"])
def test_rows_hold_both_texts_streamed_or_not_and_the_digest_covers_them(tokenizers, packing):
    blocks, streamed, tokens = rows_of(tokenizers, packing)
    for index, row in zip(range(len(blocks)), streamed, strict=False):
        kept = blocks[index]
        assert kept.keys() == row.keys()
        assert all(torch.equal(kept[name], row[name]) for name in row)
    paired = sum(((document.theirs.partner_M != NONE)[:-1] & document.target_M[1:]).sum() for document in tokens)
    assert blocks.paired_share == paired / blocks.num_scored_tokens > 0.2
    tokens[0].theirs.ids_K[3] += 1
    other = Blocks(
        pack(tokens, max_length=24, packing=packing, counts=Counts()), packing=packing, max_length=24, counts=Counts()
    )
    assert other.digest != blocks.digest


def test_what_counts_in_bits_per_byte_is_the_same_text_for_both(tokenizers):
    blocks, _, _ = rows_of(tokenizers)
    batch = PairedCollator("isolated", 0)([blocks[n] for n in range(len(blocks))])
    theirs = teacher_view(batch)
    total = 0
    for n in range(len(blocks)):
        ours = tokenizers["bytes"].decode(batch["shift_labels"][n][batch["counted"][n]])
        said = tokenizers["llama"].decode(theirs["shift_labels"][n][theirs["counted"][n]])
        assert ours == said
        assert batch["num_bytes"][n] == len(ours.encode())
        total += int(batch["num_bytes"][n])
    assert total > 0.6 * sum(len(text.encode()) for text in TEXTS)
    assert (batch["counted"] <= (batch["shift_labels"] != -100)).all()


def test_a_batch_is_padded_on_the_right_for_both(tokenizers):
    blocks, _, _ = rows_of(tokenizers, "none", max_length=64)
    batch = PairedCollator("none", 0)([blocks[n] for n in range(len(blocks))])
    theirs = teacher_view(batch)
    assert set(theirs) == {"input_ids", "position_ids", "shift_labels", "attention_mask", "counted", "num_bytes"}
    for n in range(len(blocks)):
        size = len(blocks[n]["teacher_input_ids"])
        assert theirs["attention_mask"][n].tolist() == [1] * size + [0] * (theirs["input_ids"].shape[1] - size)
        assert (batch["partner"][n] < size).all()
        assert (batch["partner"][n][batch["shift_labels"][n] == -100] == NONE).all()


def test_a_tokenizer_without_offsets_is_refused(tokenizers):
    class Slow:
        is_fast, name_or_path = False, "old/one"

    with pytest.raises(ModelError, match=r"old/one.*needs tokenizers with a tokenizer\.json"):
        TwoTokenizers(Slow(), tokenizers["bytes"], limit=None)
