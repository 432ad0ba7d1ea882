"""Keep a teacher's answers to a data set on disk, shard by shard; a killed run goes on where it was.

A shard appears whole, then the manifest names it (see `cached_signal` for the files).

Shapes: C scored positions of a chunk, V vocabulary, L layers, D hidden.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from distill_eval.distill import shards
from distill_eval.distill.blocks import IGNORED, Blocks
from distill_eval.distill.cached_signal import differences, read_manifest
from distill_eval.distill.kept_rows import (
    HiddenRows,
    Rows,
    SampledRows,
    TopKRows,
    check_num_kept,
    encode,
    join,
    row_bytes,
    sample_rows,
    top_k_rows,
)
from distill_eval.errors import ModelError, UsageError
from distill_eval.record import to_json
from distill_eval.schema.teacher_cache import MANIFEST, CacheKey, CacheManifest, Shard
from distill_eval.store import write_atomic
from distill_eval.store.files import FOLDER_LOCK, TEMPORARY, alone

BLOCKS_PER_SHARD = 256
SHARD_BYTES = 64_000_000
"""A shard is held in memory while it is made: hidden states make shards of fewer blocks."""
ROWS_AT_ONCE = 64
"""Rows of the vocabulary that are summed in float64 at a time."""
NORMALIZED = 0.05
"""Nats by which the logarithm of a sum of probabilities may be off for rounding."""

Batch: TypeAlias = dict[str, Tensor]


logger = logging.getLogger(__name__)


class Said(NamedTuple):
    """A chunk of answers, with what the key asks for."""

    log_probs_CV: Tensor | None = None
    """Log-probabilities at the key's temperature, float32."""
    hidden_CLD: Tensor | None = None
    """Outputs of the key's layers."""


class Teacher(NamedTuple):
    """Who answers, and how it is asked."""

    name: str
    """As the user named it."""
    answer: Callable[[Batch], Iterable[Said]]
    """The answers to the scored positions of a batch, in row-major order, in chunks of any size."""
    batch_size: int
    """Blocks per call. What is drawn does not depend on it."""


def write_cache(
    folder: Path,
    key: CacheKey,
    blocks: Blocks,
    teacher: Teacher,
    *,
    collate: Callable[[Sequence[Batch]], Batch],
    progress: Callable[[int, int], None],
    blocks_per_shard: int | None = None,
) -> CacheManifest:
    """Keep a teacher's answers to all blocks; what a killed run finished is checked and not computed again.

    Args:
        folder: New, empty, or with an unfinished cache of the same key.
        key: All that the answers depend on.
        blocks: The data.
        teacher: Who answers.
        collate: Makes a batch of rows, as while training.
        progress: Hears the number of finished blocks and of all, after each batch.
        blocks_per_shard: By default `BLOCKS_PER_SHARD`, or what fits into `SHARD_BYTES`. A cache that was begun keeps
            its own.

    Raises:
        UsageError: the folder holds the cache of something else, or other files; or more ids than fit are to be kept.
        StoreError: the folder cannot be written, or another process is writing it.
        ModelError: the teacher's answers are not numbers, or not of the vocabulary's size.
    """
    if (blocks.digest, len(blocks)) != (key.data_digest, key.num_blocks):
        raise ValueError("the key is not that of these blocks")
    if key.num_kept is not None:
        check_num_kept(key.kind, key.num_kept, key.vocab_size)
    with alone(folder):
        manifest = _begin(folder, key, teacher.name, blocks_per_shard or _fitting(key, blocks))
        for number in _missing(manifest):
            found: list[tuple[bytes, int]] = []
            first, last = _range(manifest, number)
            for start in range(first, last, teacher.batch_size):
                rows = [blocks[index] for index in range(start, min(start + teacher.batch_size, last))]
                found += _ask(collate(rows), key, teacher)
                progress(_num_done(manifest) + len(found), len(blocks))
            manifest = _with(manifest, _write_shard(folder, number, found))
            write_atomic(folder / MANIFEST, to_json(manifest))
    return manifest


# ---- the teacher's answers


def _ask(batch: Batch, key: CacheKey, teacher: Teacher) -> list[tuple[bytes, int]]:
    """Bytes and number of rows of every block of a batch."""
    index = [int(value) for value in batch["index"]]
    sizes = [int(size) for size in (batch["shift_labels"] != IGNORED).sum(1)]
    offsets = torch.cat([_offsets(key, block, size) for block, size in zip(index, sizes, strict=True)])
    soft: list[Rows] = []
    states: list[Rows] = []
    for said in teacher.answer(batch):
        _check(said, key, teacher.name)
        if said.log_probs_CV is not None:
            for piece in said.log_probs_CV.split(ROWS_AT_ONCE):
                done = sum(len(rows[0]) for rows in soft)
                soft.append(_choose(piece, key, offsets[done : done + len(piece)]))
        if said.hidden_CLD is not None:
            states.append(HiddenRows(said.hidden_CLD.cpu()))
    parts = [_encoded(rows, sizes, key) for rows in (soft, states) if rows]
    data = parts[0] if len(parts) == 1 else map(join, *parts)
    return list(zip(data, sizes, strict=True))


def _encoded(rows: Sequence[Rows], sizes: Sequence[int], key: CacheKey) -> list[bytes]:
    """Chunks of rows of one kind, as the bytes of each block."""
    joined = [torch.cat(parts) for parts in zip(*rows, strict=True)]
    if len(joined[0]) != sum(sizes):
        raise ValueError(f"{len(joined[0])} answers to {sum(sizes)} scored positions")
    by_block = zip(*(part.split(list(sizes)) for part in joined), strict=True)
    return [encode(type(rows[0])(*parts), key) for parts in by_block]


def _offsets(key: CacheKey, block: int, num_rows: int) -> Tensor:
    """One number in [0, 1) for each row of a block: of the seed and the block's number alone."""
    return torch.from_numpy(np.random.default_rng([key.seed or 0, block]).random(num_rows))


def _choose(piece_CV: Tensor, key: CacheKey, offsets_C: Tensor) -> Rows:
    assert key.num_kept is not None
    if key.kind == "sample":
        drawn = sample_rows(piece_CV, offsets_C.to(piece_CV.device), key.num_kept)
        return SampledRows(*(part.cpu() for part in drawn))
    return TopKRows(*(part.cpu() for part in top_k_rows(piece_CV, key.num_kept)))


def _check(said: Said, key: CacheKey, name: str) -> None:
    """Refuse answers of another shape, and what the cache cannot hold."""
    _check_shape(said.log_probs_CV, None if key.kind == "hidden" else (key.vocab_size,), name)
    _check_shape(said.hidden_CLD, (len(key.layers), key.hidden_size) if key.layers else None, name)
    if said.log_probs_CV is not None:
        chunk_CV = said.log_probs_CV
        _check_range(float(chunk_CV.amax(-1).abs().amax()), key, name, "run it in another dtype, e.g. float32")
        if abs(float(chunk_CV[0].logsumexp(-1))) > NORMALIZED:
            raise ValueError("the answers are not log-probabilities")
    if said.hidden_CLD is not None:
        advice = "add --kept-dtype bfloat16, or where it is not a number at all --teacher-dtype float32"
        _check_range(float(said.hidden_CLD.abs().amax()), key, name, advice)


def _check_shape(chunk: Tensor | None, expected: tuple[int | None, ...] | None, name: str) -> None:
    shape = None if chunk is None else tuple(chunk.shape[1:])
    if shape != expected:
        raise ModelError(f"{name} answers with {shape} numbers per token; expected {expected}")


def _check_range(highest: float, key: CacheKey, name: str, advice: str) -> None:
    if not highest <= torch.finfo(getattr(torch, key.dtype)).max:  # NaN too
        raise ModelError(f"{name} answers with {highest:g}, which is not a number that {key.dtype} holds: {advice}")


# ---- the folder


def _begin(folder: Path, key: CacheKey, teacher: str, blocks_per_shard: int) -> CacheManifest:
    """The manifest of an earlier run without its damaged shards, or a new one."""
    for path in folder.glob(f"{TEMPORARY}*"):
        path.unlink()  # what a killed run was writing
    manifest = read_manifest(folder)
    if manifest is None:
        others = sorted(path.name for path in folder.iterdir() if path.name != FOLDER_LOCK)
        if others:
            raise UsageError(f"{folder} holds other files ({', '.join(others[:3])}): name a new or empty folder")
        manifest = CacheManifest(teacher=teacher, key=key, blocks_per_shard=blocks_per_shard)
        write_atomic(folder / MANIFEST, to_json(manifest))
        return manifest
    apart = differences(manifest.key, asdict(key))
    if apart:
        raise UsageError(f"{folder} holds another cache: {'; '.join(apart)}. Name another folder, or remove this one")
    whole = []
    for shard in manifest.shards:
        wrong = shards.damage(folder / shard.name, size_bytes=shard.size_bytes, sha256=shard.sha256)
        if wrong:
            logger.warning("%s: %s; it is computed again", folder / shard.name, wrong)
        else:
            whole.append(shard)
    return _counted(manifest, whole)


def _fitting(key: CacheKey, blocks: Blocks) -> int:
    return max(1, min(BLOCKS_PER_SHARD, int(SHARD_BYTES // (blocks.max_length * row_bytes(key)))))


def _missing(manifest: CacheManifest) -> list[int]:
    kept = {shard.number for shard in manifest.shards}
    return [number for number in range(manifest.num_shards) if number not in kept]


def _num_done(manifest: CacheManifest) -> int:
    return sum(shard.num_blocks for shard in manifest.shards)


def _range(manifest: CacheManifest, number: int) -> tuple[int, int]:
    """First block of a shard, and the one behind its last."""
    first = number * manifest.blocks_per_shard
    return first, min(first + manifest.blocks_per_shard, manifest.key.num_blocks)


def _write_shard(folder: Path, number: int, found: Sequence[tuple[bytes, int]]) -> Shard:
    content, name = shards.join(found), f"shard-{number:05d}.rows"
    write_atomic(folder / name, content)
    return Shard(
        number=number,
        name=name,
        num_blocks=len(found),
        num_rows=sum(num_rows for _, num_rows in found),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _with(manifest: CacheManifest, shard: Shard) -> CacheManifest:
    return _counted(manifest, [*manifest.shards, shard])


def _counted(manifest: CacheManifest, kept: Sequence[Shard]) -> CacheManifest:
    num_rows, size_bytes = sum(shard.num_rows for shard in kept), sum(shard.size_bytes for shard in kept)
    return replace(
        manifest,
        shards=tuple(sorted(kept, key=lambda shard: shard.number)),
        num_rows=num_rows,
        size_bytes=size_bytes,
        bytes_per_token=size_bytes / num_rows if num_rows else None,
    )
