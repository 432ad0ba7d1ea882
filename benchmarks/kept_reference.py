"""What a divergence loses when the reference is kept in a fiftieth of its logits' bytes, for real models.

python benchmarks/kept_reference.py REFERENCE CANDIDATE [CANDIDATE ...] --text wiki.test.raw.txt --samples 8

Each mean divergence is computed from the whole distributions, from what is kept, and from the head and a single lump
for the tail; the last two are shown as their relative error, with the scatter of one position's estimate. The whole
reference is held in memory: 50 MB per chunk at 49,152 entries.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor

from distill_eval.calibration import TextSource
from distill_eval.engine.load import find, load, read_facts, read_tokenizer
from distill_eval.fidelity.divergence import measure
from distill_eval.fidelity.reference import scored_log_probs
from distill_eval.fidelity.rows import Shape, choose, encode, fit
from distill_eval.fidelity.text import Chunk, cut
from distill_eval.schema.model import ModelRef

NAMES = ("KL(ref || cand)", "KL(cand || ref)", "JSD")


def exact(reference_NV: Tensor, candidate_NV: Tensor) -> Tensor:
    """The three divergences of each position [3, N]."""
    p_NV, q_NV = reference_NV.double(), candidate_NV.double()
    middle_NV = torch.logaddexp(p_NV, q_NV) - math.log(2)

    def kl(a_NV: Tensor, b_NV: Tensor) -> Tensor:
        return (a_NV.exp() * (a_NV - b_NV)).sum(-1)

    return torch.stack([kl(p_NV, q_NV), kl(q_NV, p_NV), 0.5 * (kl(p_NV, middle_NV) + kl(q_NV, middle_NV))])


def compare(name: str, reference: list[Tensor], chunks: list[Chunk], shape: Shape) -> None:
    """Print the table of one candidate."""
    model = load(find(ModelRef.parse(name)))
    truth, sampled, lumped, num_bytes = [], [], [], 0
    for number, (chunk, ours_NV) in enumerate(zip(chunks, reference, strict=True)):
        theirs_NV = scored_log_probs(model, chunk, shape.vocab_size, name)
        truth.append(exact(ours_NV, theirs_NV))
        kept = choose(ours_NV, chunk.targets(), shape, (0, number))
        num_bytes += len(encode(kept, shape))
        sampled.append(torch.stack(measure(kept, theirs_NV, chunk.targets())[:3]))
        lump = choose(ours_NV, chunk.targets(), shape._replace(num_draws=0), (0, number))
        lumped.append(torch.stack(measure(lump, theirs_NV, chunk.targets())[:3]))
    true_3N, ours_3N, lump_3N = (torch.cat(part, 1) for part in (truth, sampled, lumped))
    count = true_3N.shape[1]
    share = shape.vocab_size * 2 / (num_bytes / count)
    print(f"{name}: {count:,} positions, {num_bytes / count:,.0f} bytes each, 1/{share:.0f} of bfloat16 logits")
    for row, label in enumerate(NAMES):
        mean = true_3N[row].mean()
        off, lump_off = ((part[row].mean() / mean - 1) * 100 for part in (ours_3N, lump_3N))
        scatter = (ours_3N[row] - true_3N[row]).pow(2).mean().sqrt() / mean * 100
        print(
            f"  {label:16s} {mean:.5f} nats; from what is kept {off:+.2f} % (one position: {scatter:.0f} %); "
            f"head and lump {lump_off:+.2f} %",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference")
    parser.add_argument("candidates", nargs="+")
    parser.add_argument("--text", required=True)
    parser.add_argument("--subset")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--top-k", type=int, default=64)
    args = parser.parse_args()
    source = TextSource(args.text, args.samples, 512, subset=args.subset, split="test", seed=None, option="--text")
    found = find(ModelRef.parse(args.reference))
    chunks = cut(source, read_tokenizer(found), "second-half", name=args.reference).chunks
    shape = fit(read_facts(found).vocab_size, args.top_k, 2)
    model = load(found)
    rows = [scored_log_probs(model, chunk, shape.vocab_size, args.reference) for chunk in chunks]
    del model
    for name in args.candidates:
        compare(name, rows, chunks, shape)


if __name__ == "__main__":
    main()
