"""Batches with the teacher's tokens beside the student's, for a teacher with another tokenizer.

Shapes: B rows, T positions of the student, K positions of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distill_eval.distill.alignment import NONE
from distill_eval.distill.blocks import IGNORED, Collator, Row
from distill_eval.distill.their_rows import PREFIX


@dataclass(frozen=True)
class PairedCollator(Collator):
    """Rows to a batch, as `Collator` has it, and beside it the teacher's tokens in a batch of their own."""

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Also `teacher_...` [B, K], `partner` and `counted` [B, T] and `num_bytes` [B]; see `their_row`."""
        batch = super().__call__(rows)
        names = ("input_ids", "position_ids", "shift_labels")
        theirs = Collator(self.packing, 0)(
            [{name: row[PREFIX + name] for name in names} | {"index": row["index"]} for row in rows]
        )
        batch |= {PREFIX + name: value for name, value in theirs.items() if name != "index"}
        longest = batch["input_ids"].shape[1]
        for name, value in (("partner", NONE), ("counted", False)):
            batch[name] = torch.stack(
                [torch.nn.functional.pad(row[name], (0, longest - len(row[name])), value=value) for row in rows]
            )
        return batch | {"num_bytes": torch.stack([row["num_bytes"] for row in rows])}


def teacher_view(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch as the teacher reads it: its own tokens where there are such, else the student's."""
    if f"{PREFIX}input_ids" not in batch:
        return dict(batch)
    theirs = {name.removeprefix(PREFIX): value for name, value in batch.items() if name.startswith(PREFIX)}
    return theirs | {"counted": theirs["shift_labels"] != IGNORED, "num_bytes": batch["num_bytes"]}
