"""A cached teacher, open for reading: what the teacher said about the blocks of a batch, in any order.

    <folder>/manifest.json      what the rows depend on, and the finished shards with their checksums
    <folder>/shard-00000.rows   see `shards`

Whatever the manifest does not name does not count.

Shapes: B blocks of a batch, N scored positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from distill_eval.distill import shards
from distill_eval.distill.kept_rows import HiddenRows, Rows, decode, decode_hidden, separate
from distill_eval.errors import ArtifactError, UsageError, boundary
from distill_eval.record import from_json
from distill_eval.schema.teacher_cache import MANIFEST, SCHEMA_VERSION, CacheManifest, Shard

R = TypeVar("R", bound=Rows)


class CachedSignal:
    """A finished cache.

    Attributes:
        manifest: What it holds.
    """

    def __init__(self, folder: Path, expected: Mapping[str, Any]) -> None:
        """Open it, and refuse the cache of another teacher, data set or temperature.

        Args:
            folder: What `teacher_cache.write_cache` wrote.
            expected: Fields of `CacheKey` that must have these values, e.g. `data_digest` and `temperature`.

        Raises:
            ArtifactError: it is not a cache, not finished, or a shard is missing.
            UsageError: a field has another value; every such field is named with both values.
        """
        manifest = read_manifest(folder)
        if manifest is None:
            raise ArtifactError(f"{folder} is not a cached teacher: it has no {MANIFEST}. Make one with cache-teacher")
        apart = differences(manifest.key, expected)
        if apart:
            raise UsageError(
                f"{folder} holds the rows of {manifest.teacher} for something else: {'; '.join(apart)}. "
                "Name another folder with --cached-teacher, or run cache-teacher with these options"
            )
        if not manifest.finished:
            raise ArtifactError(
                f"{folder} is not finished: {len(manifest.shards)} of {manifest.num_shards} shards. "
                "Run the same cache-teacher command again, it goes on"
            )
        for shard in manifest.shards:
            if not (folder / shard.name).is_file():
                raise ArtifactError(f"{folder / shard.name} is missing. Run the same cache-teacher command again")
        self.manifest = manifest
        self._folder = folder
        self._readers: dict[int, shards.ShardReader] = {}

    def rows(self, index_B: Tensor, kind: type[R]) -> R:
        """The kept rows of these blocks, in the order of the scored positions of a batch of them, on the CPU.

        Args:
            index_B: A batch's `index`.
            kind: `SampledRows`, `TopKRows` or `HiddenRows`, as far as the cache holds them.

        Raises:
            ArtifactError: a shard is damaged.
            UsageError: the cache holds rows of another kind, or no such block.
        """
        found = [self._block(index, hidden=kind is HiddenRows) for index in index_B.tolist()]
        if not isinstance(found[0], kind):
            raise UsageError(f"{self._folder} holds {self.manifest.key.kind} rows, not {kind.__name__}")
        return kind(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def _block(self, index: int, *, hidden: bool) -> Rows:
        if not 0 <= index < self.manifest.key.num_blocks:
            raise UsageError(f"{self._folder} holds blocks 0 to {self.manifest.key.num_blocks - 1}, not {index}")
        number, place = divmod(index, self.manifest.blocks_per_shard)
        if number not in self._readers:
            self._readers[number] = self._open(self.manifest.shards[number])
        data, num_rows = self._readers[number].block(place)
        key = self.manifest.key
        if key.kind == "hidden" or not key.layers:
            return decode(data, num_rows, key)
        soft, states = separate(data)
        return decode_hidden(states, num_rows, key) if hidden else decode(soft, num_rows, key)

    def _open(self, shard: Shard) -> shards.ShardReader:
        path = self._folder / shard.name
        wrong = shards.damage(path, size_bytes=shard.size_bytes, sha256=shard.sha256)
        if wrong:
            raise ArtifactError(f"{path} is damaged: {wrong}. Run the same cache-teacher command again, it mends it")
        return shards.ShardReader(path)


def read_manifest(folder: Path) -> CacheManifest | None:
    """The manifest; `None` where there is none.

    Raises:
        ArtifactError: it cannot be read, or another version of distill-eval wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    with boundary(ArtifactError, f"cannot read {path}"):
        text = path.read_bytes()
    manifest = from_json(CacheManifest, text, source=str(path))
    if manifest.version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has version {manifest.version}, expected {SCHEMA_VERSION}: remove {folder} and make it again"
        )
    return manifest


def differences(key: object, expected: Mapping[str, Any]) -> list[str]:
    """What is not as expected, one phrase per field; digests are shortened."""
    pairs = [(name, getattr(key, name), value) for name, value in expected.items()]
    return [f"{name} {_short(found)} there, {_short(value)} here" for name, found, value in pairs if found != value]


def _short(value: object) -> str:
    is_digest = isinstance(value, str) and len(value) == 64
    return f"{str(value)[:12]}..." if is_digest else str(value)
