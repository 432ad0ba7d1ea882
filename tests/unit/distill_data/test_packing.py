import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.distill_data.build import document, numbered

from distill_eval.distill.packing import OPEN_BLOCKS, Counts, pack


def packed(documents, max_length, packing):
    counts = Counts()
    return list(pack(documents, max_length=max_length, packing=packing, counts=counts)), counts


def pairs(blocks):
    """(token, token predicted from it), for every position that is scored."""
    found = []
    for block in blocks:
        for window in block:
            following = [*window.ids_M[1:].tolist(), window.after]
            found += [
                (int(token), after)
                for token, after, scored in zip(window.ids_M, following, window.scored_M, strict=True)
                if scored
            ]
    return found


def ids(blocks):
    return [[window.ids_M.tolist() for window in block] for block in blocks]


def test_isolated_fills_blocks_best():
    blocks, counts = packed(numbered([6, 5, 2, 3]), 8, "isolated")
    assert ids(blocks) == [[[0, 1, 2, 3, 4, 5], [11, 12]], [[6, 7, 8, 9, 10], [13, 14, 15]]]
    assert counts == Counts(num_documents=4)


def test_a_long_document_becomes_windows_and_each_predicts_on():
    blocks, counts = packed(numbered([7]), 3, "isolated")
    # The last token alone would predict nothing: it is only what the second window's last position predicts.
    assert ids(blocks) == [[[0, 1, 2]], [[3, 4, 5]]]
    assert pairs(blocks) == [(place, place + 1) for place in range(6)]
    assert (counts.num_documents, counts.num_split) == (1, 1)


def test_none_gives_every_window_a_row():
    blocks, counts = packed(numbered([2, 5, 3]), 4, "none")
    assert ids(blocks) == [[[0, 1]], [[2, 3, 4, 5]], [[7, 8, 9]]]
    assert counts.num_split == 1


def test_crossing_is_one_stream():
    blocks, counts = packed(numbered([3, 4, 3]), 4, "crossing")
    assert ids(blocks) == [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9]]]
    assert pairs(blocks) == [(0, 1), (1, 2), (3, 4), (4, 5), (5, 6), (7, 8), (8, 9)]
    assert (counts.num_documents, counts.num_split) == (3, 2)


@pytest.mark.parametrize("packing", ["isolated", "crossing", "none"])
def test_documents_without_anything_to_predict_are_left_out(packing):
    documents = [document(1), document(2, 3, unscored=(1,)), document(4, 5)]
    blocks, counts = packed(documents, 4, packing)
    assert ids(blocks) == [[[4, 5]]]
    assert (counts.num_documents, counts.num_unscored) == (1, 2)


@pytest.mark.parametrize("packing", ["isolated", "crossing", "none"])
def test_unscored_stretches_of_a_conversation_predict_nothing(packing):
    blocks, _ = packed([document(*range(12), unscored=range(8))], 4, packing)
    assert pairs(blocks) == [(7, 8), (8, 9), (9, 10), (10, 11)]
    assert ids(blocks) == [[[4, 5, 6, 7]], [[8, 9, 10, 11]]]


def test_blocks_come_out_while_documents_go_in():
    blocks = pack(iter(numbered([5] * (OPEN_BLOCKS + 2))), max_length=8, packing="isolated", counts=Counts())
    assert next(blocks)[0].ids_M.tolist() == [0, 1, 2, 3, 4]


@settings(deadline=None)
@given(
    st.lists(st.integers(2, 40), min_size=1, max_size=60),
    st.integers(2, 16),
    st.sampled_from(["isolated", "crossing", "none"]),
)
def test_every_token_but_the_first_of_a_document_is_predicted_once(sizes, max_length, packing):
    documents = numbered(sizes)
    blocks, counts = packed(documents, max_length, packing)
    expected = [(int(a), int(b)) for one in documents for a, b in zip(one.ids_M, one.ids_M[1:], strict=False)]
    assert sorted(pairs(blocks)) == expected
    assert all(sum(len(window.ids_M) for window in block) <= max_length for block in blocks)
    assert counts.num_documents == len(sizes)
    if packing != "crossing":
        assert counts.num_split == sum(size > max_length for size in sizes)


def test_best_fit_wastes_little():
    sizes = np.random.default_rng(0).integers(20, 2000, 3000).tolist()
    blocks, _ = packed(numbered(sizes), 512, "isolated")
    used = sum(len(window.ids_M) for block in blocks for window in block)
    assert 1 - used / (512 * len(blocks)) < 0.01
