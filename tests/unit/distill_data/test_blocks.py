import pickle
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader
from unit.distill_data.build import blocks_of, document, numbered

from distill_eval.distill.blocks import Blocks, Collator, StreamedBlocks
from distill_eval.distill.packing import Counts, pack
from distill_eval.errors import DataError

SIZES = [6, 5, 2, 9, 1, 3]


def make(sizes=SIZES, **options):
    return blocks_of(sizes, **options)


def lists(row):
    return {name: value.tolist() for name, value in row.items()}


def test_a_row_restarts_its_positions_and_predicts_nothing_across_documents():
    assert lists(make()[0]) == {
        "input_ids": [0, 1, 2, 3, 4, 5, 11, 12],
        "position_ids": [0, 1, 2, 3, 4, 5, 0, 1],
        "shift_labels": [1, 2, 3, 4, 5, -100, 12, -100],
        "index": 0,
    }


def test_a_window_predicts_the_first_token_of_the_next():
    assert lists(make()[1]) == {
        "input_ids": [13, 14, 15, 16, 17, 18, 19, 20],
        "position_ids": [0, 1, 2, 3, 4, 5, 6, 7],
        "shift_labels": [14, 15, 16, 17, 18, 19, 20, 21],
        "index": 1,
    }


def test_crossing_counts_positions_on():
    row = lists(make(packing="crossing")[0])
    assert row["input_ids"] == row["position_ids"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert row["shift_labels"] == [1, 2, 3, 4, 5, -100, 7, 8]


def test_counts():
    blocks = make()
    assert len(blocks) == 3  # the single token predicts nothing; neither does the last one of the nine
    assert blocks.num_tokens == 6 + 5 + 2 + 8 + 3
    assert blocks.num_scored_tokens == 5 + 4 + 1 + 8 + 2
    assert blocks.padding_share == 0.0
    assert (blocks.counts.num_documents, blocks.counts.num_split, blocks.counts.num_unscored) == (5, 1, 1)
    assert make(packing="none").padding_share == 1 - 24 / 40


def test_the_digest_covers_content_packing_and_length():
    assert make().digest == make().digest
    others = [
        make([6, 5, 2, 9, 1, 4]),
        make(packing="none"),
        make(packing="crossing"),
        make([8]),
        make([8], max_length=9),
    ]
    assert len({make().digest, *(other.digest for other in others)}) == 6


def test_a_label_alone_changes_the_digest():
    def digest(**changes):
        counts = Counts()
        blocks = pack([document(1, 2, 3, 4, **changes)], max_length=8, packing="isolated", counts=counts)
        return Blocks(blocks, packing="isolated", max_length=8, counts=counts).digest

    assert digest() != digest(unscored=(1,))


def test_padding_of_an_isolated_row_is_one_more_document():
    rows = [make([3, 2])[0], make([2])[0]]
    batch = lists(Collator("isolated", pad_id=99)(rows))
    assert batch["input_ids"] == [[0, 1, 2, 3, 4], [0, 1, 99, 99, 99]]
    assert batch["position_ids"] == [[0, 1, 2, 0, 1], [0, 1, 0, 1, 2]]
    assert batch["shift_labels"] == [[1, 2, -100, 4, -100], [1, -100, -100, -100, -100]]
    assert batch["index"] == [0, 0]
    assert "attention_mask" not in batch


def test_padded_rows_have_a_mask():
    batch = lists(Collator("none", pad_id=99)([make([3], packing="none")[0], make([2], packing="none")[0]]))
    assert batch["attention_mask"] == [[1, 1, 1], [1, 1, 0]]
    assert batch["position_ids"] == [[0, 1, 2], [0, 1, 2]]


def test_crossing_rows_keep_one_run_of_positions():
    batch = Collator("crossing", pad_id=99)([make([3], packing="crossing")[0], make([2], packing="crossing")[0]])
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert "attention_mask" not in batch


class Source:
    """Can be sent to a worker."""

    def __call__(self):
        return pack(iter(numbered(SIZES)), max_length=8, packing="isolated", counts=Counts())


def test_a_stream_gives_the_same_rows_pass_after_pass_and_numbers_on():
    stored = make()
    stream = StreamedBlocks(Source())
    for _ in range(2):
        rows = [lists(row) for row in islice(stream, 2 * len(stored))]
        once = [lists(stored[index]) for index in range(len(stored))]
        again = [row | {"index": row["index"] + len(stored)} for row in once]
        assert rows == once + again


def test_a_stream_without_rows_is_an_error_and_not_a_wait_without_end():
    with pytest.raises(DataError, match="no row to train on"):
        next(iter(StreamedBlocks(lambda: iter(()))))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_share_a_stream(num_workers):
    loader = DataLoader(StreamedBlocks(Source()), batch_size=None, num_workers=num_workers)
    assert sorted(int(row["index"]) for row in islice(loader, 6)) == [0, 1, 2, 3, 4, 5]


def test_blocks_can_be_sent_to_workers():
    copy = pickle.loads(pickle.dumps(make()))
    assert copy.digest == make().digest
    assert torch.equal(copy[2]["input_ids"], make()[2]["input_ids"])
