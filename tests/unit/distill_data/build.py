"""Documents whose tokens are numbers that never come twice, distributions, and keys of caches."""

import numpy as np
import torch

from distill_eval.distill.blocks import Blocks
from distill_eval.distill.kept_rows import most_kept
from distill_eval.distill.packing import Counts, pack
from distill_eval.distill.text import Tokens
from distill_eval.schema.teacher_cache import CacheKey


def document(*ids, unscored=()):
    target = np.array([place > 0 and place not in unscored for place in range(len(ids))])
    return Tokens(np.array(ids, dtype=np.uint32), target)


def numbered(sizes):
    """Documents of these sizes in which no token comes twice."""
    ends = np.cumsum(sizes)
    return [document(*range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def peaked(num_rows, vocab_size, seed=0):
    """Log-probabilities like a language model's: a few likely ids, and a long tail that is not nothing."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_rows, vocab_size, generator=generator) * 2
    order = torch.rand(num_rows, vocab_size, generator=generator).argsort(-1)
    return (logits - 0.9 * (order + 1).float().log()).log_softmax(-1)


def cache_key(kind, vocab_size, **changes):
    drawn = kind != "hidden"
    fields = {
        "kind": kind,
        "teacher_digest": "a" * 64,
        "teacher_dtype": "float32",
        "tokenizer_digest": "b" * 64,
        "data_digest": "c" * 64,
        "num_blocks": 1,
        "vocab_size": vocab_size,
        "temperature": 2.0 if drawn else None,
        "num_kept": most_kept(kind, vocab_size) if drawn else None,
        "seed": 0 if kind == "sample" else None,
    }
    return CacheKey(**(fields | changes))


def blocks_of(sizes, max_length=8, packing="isolated"):
    counts = Counts()
    blocks = pack(numbered(sizes), max_length=max_length, packing=packing, counts=counts)
    return Blocks(blocks, packing=packing, max_length=max_length, counts=counts)
