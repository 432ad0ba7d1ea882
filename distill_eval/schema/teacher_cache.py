"""What a teacher said about a data set, kept on disk: the content of a cached teacher's `manifest.json`."""

from __future__ import annotations

from typing import Literal

from distill_eval.record import record

SCHEMA = "distill-eval/teacher-cache"
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
"""Its file, in the folder of the rows."""

Kind = Literal["sample", "top_k", "hidden"]
"""What is kept of a scored position.

- sample: ids drawn from the teacher's softened distribution, and its entropy;
- top_k: the most likely ids with their log-probabilities, and the probability of all others together;
- hidden: hidden states of chosen layers, and nothing else.

Beside either of the first two there are hidden states too where the key names layers.
"""


@record
class CacheKey:
    """All that the kept rows depend on."""

    kind: Kind
    teacher_digest: str
    """SHA-256 over the teacher's config and weight files."""
    teacher_dtype: str
    """What the teacher computed in, e.g. `bfloat16`."""
    tokenizer_digest: str
    """SHA-256 over the vocabulary of the tokenizer that made the rows."""
    data_digest: str
    """SHA-256 over the rows: data, tokenization, packing and length."""
    num_blocks: int
    vocab_size: int
    temperature: float | None
    """Of the softened distribution; `None` for hidden states alone."""
    num_kept: int | None
    """Ids per scored position; `None` for hidden states alone."""
    seed: int | None
    """Of the draws; `None` where nothing is drawn."""
    layers: tuple[int, ...] = ()
    """Hidden states: the outputs of which layers, from 0, ascending."""
    num_layers: int | None = None
    """All that the teacher has; this and `hidden_size` are `None` without hidden states."""
    hidden_size: int | None = None
    dtype: Literal["float16", "bfloat16"] = "float16"
    """Of the numbers on disk."""


@record
class Shard:
    """One file of rows."""

    number: int
    name: str
    num_blocks: int
    num_rows: int
    """Scored positions."""
    size_bytes: int
    sha256: str


@record
class CacheManifest:
    """The finished shards of a cached teacher."""

    schema: str = SCHEMA
    version: int = SCHEMA_VERSION
    teacher: str
    """As the user named it."""
    key: CacheKey
    blocks_per_shard: int
    shards: tuple[Shard, ...] = ()
    num_rows: int = 0
    """Scored positions of all shards."""
    size_bytes: int = 0
    """Bytes of all shards on disk."""
    bytes_per_token: float | None = None
    """`size_bytes` over `num_rows`; `None` before there are any."""

    @property
    def num_shards(self) -> int:
        """Shards that the finished cache has."""
        return -(-self.key.num_blocks // self.blocks_per_shard)

    @property
    def finished(self) -> bool:
        """Whether every shard is there."""
        return len(self.shards) == self.num_shards
