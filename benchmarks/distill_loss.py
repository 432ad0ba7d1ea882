"""How fast one step of the distillation loss is, and how much memory it takes, against the formulas of others.

    python benchmarks/distill_loss.py --output distill_loss.md

A step starts at the last hidden states of both models and ends with the gradients of the student's hidden states and
head: projections, divergence, backward. The contenders run in turn (A B C, A B C ...), every loss is checked against
ours, and speedups are medians of the rounds' ratios. Peak memory is that of a process of its own, minus that of one
that holds the same inputs and gradients and computes nothing.

    forward_kl: 0.7 T^2 KL + 0.3 cross-entropy at T = 2
    jsd:        the generalized Jensen-Shannon divergence alone, beta = 0.5, T = 1

`plain` is the textbook: all positions' logits of both models, F.kl_div, F.cross_entropy, autograd, the mask last.
`trl` is GKD (huggingface/trl, trl/experimental/gkd/gkd_trainer.py, `generalized_jsd_loss`): TRL's own where it can be
imported, else that formula. `liger` projects all rows in chunks and differentiates each chunk by itself with
`torch.func.grad_and_value` (linkedin/Liger-Kernel, liger_kernel/chunked_loss): Liger's own where it can be imported,
else that formula; with the fastest of three chunk sizes.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from distill_eval.distill.projection import RowLoss

BETA, IGNORED = 0.5, -100
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
"""Relative difference between two contenders' losses; bfloat16 log-softmaxes are biased by about 0.3 %."""
LIGER_CHUNKS = (256, 512, 1024)


class Workload(NamedTuple):
    """A loss, who else computes it, and what is to be reached."""

    alpha: float
    temperature: float
    peers: tuple[str, ...]
    speedup: float
    memory: float
    """Largest share of the first peer's memory."""


WORKLOADS = {
    "forward_kl": Workload(0.7, 2.0, ("plain", "liger"), 1.6, 0.2),
    "jsd": Workload(1.0, 1.0, ("trl", "liger"), 2.5, 0.2),
}


class Inputs(NamedTuple):
    """Last hidden states and heads of both models; labels of all positions, the shift already made."""

    hidden_ND: Tensor
    weight_VD: Tensor
    teacher_ND: Tensor
    teacher_weight_VD: Tensor
    labels_N: Tensor


def make_inputs(args: argparse.Namespace) -> Inputs:
    """Random ones, such that a model's most likely token has a probability of a few percent."""
    import torch

    torch.manual_seed(0)
    dtype = getattr(torch, args.dtype)

    def normal(rows: int, width: int, std: float) -> Tensor:
        return torch.empty(rows, width, dtype=dtype).normal_(std=std)

    spread = 3 / math.sqrt(args.width)
    hidden, weight = normal(args.tokens, args.width, 1).requires_grad_(), normal(args.vocab, args.width, spread)
    teacher, teacher_weight = normal(args.tokens, args.width, 1), normal(args.vocab, args.width, spread)
    labels = torch.randint(0, args.vocab, (args.tokens,))
    labels[torch.randperm(args.tokens)[: round(args.tokens * (1 - args.scored))]] = IGNORED
    return Inputs(hidden, weight.requires_grad_(), teacher, teacher_weight, labels)


# ---- the contenders: each gives the loss of all scored positions, ready for `backward`


def ours(inputs: Inputs, name: str, chunk_rows: int | None) -> Tensor:
    """distill-eval's, which drops the rows that are not scored before the projection."""
    return our_rows(inputs, name, chunk_rows).loss


def our_rows(inputs: Inputs, name: str, chunk_rows: int | None = None) -> RowLoss:
    """The same with its parts."""
    from distill_eval.distill.projection import Soft, row_loss
    from distill_eval.distill.targets import DenseTarget, LiveTeacher
    from distill_eval.head import Head

    load, scored = WORKLOADS[name], inputs.labels_N != IGNORED
    teacher = LiveTeacher(inputs.teacher_ND[scored], Head(inputs.teacher_weight_VD))
    soft = Soft(DenseTarget((teacher,)), name, load.temperature, load.alpha, BETA)
    hidden, labels = inputs.hidden_ND[scored], inputs.labels_N[scored]
    head = Head(inputs.weight_VD)
    return row_loss(hidden, head, labels, soft=soft, denominator=len(labels), chunk_rows=chunk_rows)


def plain(inputs: Inputs, name: str, _: int | None) -> Tensor:
    """The textbook's forward KL and cross-entropy."""
    import torch
    import torch.nn.functional as F

    load, scored = WORKLOADS[name], inputs.labels_N != IGNORED
    logits = inputs.hidden_ND @ inputs.weight_VD.T
    with torch.no_grad():
        target = (inputs.teacher_ND @ inputs.teacher_weight_VD.T / load.temperature).softmax(-1)
    kl = F.kl_div((logits / load.temperature).log_softmax(-1), target, reduction="none").sum(-1)[scored].mean()
    hard = F.cross_entropy(logits, inputs.labels_N, ignore_index=IGNORED)
    return load.alpha * load.temperature**2 * kl + (1 - load.alpha) * hard


def trl(inputs: Inputs, name: str, _: int | None) -> Tensor:
    """GKD's loss on the logits of all positions."""
    import torch

    assert name == "jsd"
    logits = (inputs.hidden_ND @ inputs.weight_VD.T)[None]
    with torch.no_grad():
        target = (inputs.teacher_ND @ inputs.teacher_weight_VD.T)[None]
    loss: Tensor = gkd_loss()(logits, target, labels=inputs.labels_N[None], beta=BETA, temperature=1.0)
    return loss


def gkd_loss() -> Callable[..., Any]:
    """TRL's own function, or its formula."""
    try:
        from trl.experimental.gkd import GKDTrainer
    except ImportError:
        return gkd_formula
    function: Callable[..., Any] = GKDTrainer.generalized_jsd_loss
    return function


def gkd_formula(student: Tensor, teacher: Tensor, labels: Tensor, beta: float, temperature: float) -> Tensor:
    """GKD, arXiv 2306.13649, eq. 1, as TRL has it: in log space, elementwise over all positions, the mask last."""
    import torch
    import torch.nn.functional as F

    log_p, log_q = (F.log_softmax(logits / temperature, dim=-1) for logits in (student, teacher))
    shares = torch.tensor([1 - beta, beta], dtype=log_p.dtype).log()
    mixed = torch.logsumexp(torch.stack([log_p + shares[0], log_q + shares[1]]), dim=0)
    theirs = F.kl_div(mixed, log_q, reduction="none", log_target=True)
    own = F.kl_div(mixed, log_p, reduction="none", log_target=True)
    scored = labels != IGNORED
    return (beta * theirs + (1 - beta) * own)[scored].sum() / scored.sum()


def liger(inputs: Inputs, name: str, chunk_rows: int | None) -> Tensor:
    """Liger's loss, as its 0.8.5 has it: both parts are means over the scored rows, and all rows are projected."""
    load, beta = WORKLOADS[name], 0.0 if name == "forward_kl" else BETA
    weights = {"weight_hard_loss": 1 - load.alpha, "weight_soft_loss": load.alpha * load.temperature**2}
    size = chunk_rows or LIGER_CHUNKS[-1]
    own = liger_loss()
    found: Tensor
    if own is None:
        found = chunked_autograd().apply(
            inputs, beta, load.temperature, weights, size, inputs.hidden_ND, inputs.weight_VD
        )
        return found
    loss = own(beta=beta, temperature=load.temperature, compiled=False, chunk_size=size, **weights)
    found = loss(
        inputs.hidden_ND, inputs.weight_VD, inputs.teacher_ND, inputs.teacher_weight_VD, inputs.labels_N, None, None
    )
    return found


def liger_loss() -> Any:
    """Liger's class; `None` where it cannot be imported, as on a machine without triton."""
    try:
        from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss
    except ImportError:
        return None
    return LigerFusedLinearJSDLoss


@functools.cache
def chunked_autograd() -> Any:
    """Liger's way as a torch.autograd.Function: one `grad_and_value` per chunk, summed up in the forward pass."""
    import torch
    import torch.nn.functional as F

    def term(hidden: Tensor, weight: Tensor, teacher: Tensor, target: Tensor, labels: Tensor, options: Any) -> Tensor:
        beta, temperature, weights, count = options
        logits = hidden @ weight.T
        hard = F.cross_entropy(logits.float(), labels, reduction="sum", ignore_index=IGNORED)
        log_p = (logits / temperature).log_softmax(-1)
        log_q = (teacher @ target.T / temperature).log_softmax(-1).detach()
        if beta == 0:
            each = F.kl_div(log_p, log_q, reduction="none", log_target=True)
        else:
            mixed = ((1 - beta) * log_p.exp() + beta * log_q.exp()).log()
            parts = [F.kl_div(mixed, side, reduction="none", log_target=True) for side in (log_q, log_p)]
            each = beta * parts[0] + (1 - beta) * parts[1]
        soft = each.sum(-1).masked_fill(labels == IGNORED, 0.0).sum()
        loss: Tensor = (weights["weight_hard_loss"] * hard + weights["weight_soft_loss"] * soft) / count
        return loss

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any,
            inputs: Inputs,
            beta: float,
            temperature: float,
            weights: Any,
            size: int,
            hidden: Tensor,
            weight: Tensor,
        ) -> Tensor:
            options = (beta, temperature, weights, (inputs.labels_N != IGNORED).sum())
            total, grads, grad_weight = torch.zeros(()), [], torch.zeros_like(weight)
            for h, t, y in zip(*(x.split(size) for x in (hidden, inputs.teacher_ND, inputs.labels_N)), strict=True):
                run = torch.func.grad_and_value(term, argnums=(0, 1))
                (grad_h, grad_w), value = run(h, weight, t, inputs.teacher_weight_VD, y, options)
                grad_weight += grad_w
                total += value
                grads.append(grad_h)
            ctx.save_for_backward(torch.cat(grads), grad_weight)
            return total

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            assert grad == 1  # else both would be scaled
            return None, None, None, None, None, *ctx.saved_tensors

    return Function


CONTENDERS = {"ours": ours, "plain": plain, "trl": trl, "liger": liger}


def step(contender: str, inputs: Inputs, name: str, chunk_rows: int | None = None) -> tuple[float, float]:
    """Seconds and loss of one step; the gradients are left in the inputs."""
    inputs.hidden_ND.grad = inputs.weight_VD.grad = None
    began = time.perf_counter()
    loss = CONTENDERS[contender](inputs, name, chunk_rows)
    loss.backward()
    return time.perf_counter() - began, float(loss.detach())


# ---- the children: the parent stays small, since a child's peak memory starts at its parent's


def prepare(args: argparse.Namespace) -> Inputs:
    """Threads, and what a contender needs."""
    import torch

    torch.set_num_threads(args.threads)
    return make_inputs(args)


def expected_losses(inputs: Inputs, name: str) -> dict[str, float]:
    """What each peer's loss should be: ours."""
    import torch

    with torch.no_grad():
        loss = float(our_rows(inputs, name).loss)
    return dict.fromkeys(WORKLOADS[name].peers, loss)


def child_time(args: argparse.Namespace) -> dict[str, Any]:
    """Interleaved rounds of all contenders for one loss."""
    inputs, load = prepare(args), WORKLOADS[args.loss]
    sweep = {rows: step("liger", inputs, args.loss, rows)[0] for rows in LIGER_CHUNKS if rows <= args.tokens}
    chunks = {"liger": min(sweep, key=lambda rows: sweep[rows]), "ours": args.chunk_rows}
    expected = expected_losses(inputs, args.loss)
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *load.peers)}
    worst = dict.fromkeys(load.peers, 0.0)
    for number in range(args.rounds + 1):  # the first one warms up
        for contender in seconds:
            took, loss = step(contender, inputs, args.loss, chunks.get(contender))
            if number:
                seconds[contender].append(took)
            if contender in worst:
                worst[contender] = max(worst[contender], abs(loss / expected[contender] - 1))
    for peer, difference in worst.items():
        if not difference <= TOLERANCE[args.dtype]:
            sys.exit(f"{args.loss} {args.dtype}: {peer}'s loss differs from ours by {difference:.1e} of it")
    return {"seconds": seconds, "differences": worst, "liger_chunk": chunks["liger"]}


def child_memory(args: argparse.Namespace) -> dict[str, Any]:
    """Peak resident bytes after two steps; `baseline` only has the gradients."""
    import torch

    inputs = prepare(args)
    if args.contender == "baseline":
        for tensor in (inputs.hidden_ND, inputs.weight_VD):
            tensor.grad = torch.ones_like(tensor)
    else:
        for _ in range(2):
            step(args.contender, inputs, args.loss, args.chunk_rows)
    return {"bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def child_sweep(args: argparse.Namespace) -> dict[str, Any]:
    """Median seconds of ours by rows of a chunk, interleaved."""
    inputs = prepare(args)
    sizes = [int(text) for text in args.sweep.split(",")]
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for number in range(args.rounds + 1):
        for size in sizes:
            took = step("ours", inputs, args.loss, size)[0]
            if number:
                seconds[size].append(took)
    return {str(size): statistics.median(values) for size, values in seconds.items()}


CHILDREN = {"time": child_time, "memory": child_memory, "sweep": child_sweep}


def run_child(args: argparse.Namespace, kind: str, **changes: Any) -> dict[str, Any]:
    """The JSON that a process of its own prints last."""
    options = {**vars(args), "child": kind, **changes}
    command = [sys.executable, __file__]
    for name, value in options.items():
        if value is not None and name != "output":
            command += [f"--{name.replace('_', '-')}", str(value)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


def measure(args: argparse.Namespace, name: str, dtype: str) -> list[dict[str, Any]]:
    """One row per peer."""
    load = WORKLOADS[name]
    timed = run_child(args, "time", loss=name, dtype=dtype)
    peaks = {}
    for contender in ("baseline", "ours", *load.peers):
        rows = timed["liger_chunk"] if contender == "liger" else args.chunk_rows
        found = run_child(args, "memory", loss=name, dtype=dtype, contender=contender, chunk_rows=rows)
        peaks[contender] = found["bytes"]
    extra = {contender: peak - peaks["baseline"] for contender, peak in peaks.items()}
    table_rows = []
    for peer in load.peers:
        pairs = list(zip(timed["seconds"][peer], timed["seconds"]["ours"], strict=True))
        table_rows.append(
            {
                "loss": name,
                "dtype": dtype,
                "peer": f"{peer} (chunk {timed['liger_chunk']})" if peer == "liger" else peer,
                "peer_s": statistics.median(a for a, _ in pairs),
                "ours_s": statistics.median(b for _, b in pairs),
                "ratios": [a / b for a, b in pairs],
                "speedup": statistics.median(a / b for a, b in pairs),
                "target": load.speedup,
                "peer_mb": extra[peer] / 1e6,
                "ours_mb": extra["ours"] / 1e6,
                "memory": extra["ours"] / extra[peer],
                "memory_target": load.memory if peer == load.peers[0] else None,
                "difference": timed["differences"][peer],
            }
        )
        print(json.dumps(table_rows[-1]), flush=True)
    return table_rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as markdown."""
    head = (
        "loss, dtype, against, its s, our s, speedup: median (each), target, its MB, our MB, share, target, difference"
    )
    lines = [f"| {head.replace(', ', ' | ')} |", "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        each = ", ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        cells = [
            row["loss"],
            row["dtype"],
            row["peer"],
            f"{row['peer_s']:.2f}",
            f"{row['ours_s']:.2f}",
            f"{row['speedup']:.2f}x ({each})",
            f"{row['target']}x",
            f"{row['peer_mb']:.0f}",
            f"{row['ours_mb']:.0f}",
            f"{row['memory']:.2f}",
            row["memory_target"] or "-",
            f"{row['difference']:.0e}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The command line; --child, --contender, --dtype and --loss are for the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=151936, help="Qwen2.5's")
    parser.add_argument("--width", type=int, default=896, help="of both models, Qwen2.5-0.5B's")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--scored", type=float, default=0.5, help="share of the tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--losses", default="forward_kl,jsd")
    parser.add_argument("--chunk-rows", type=int, help="of ours (default: automatic)")
    parser.add_argument("--sweep", help="instead: seconds of ours by rows of a chunk, e.g. 64,128,256,512")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", choices=CHILDREN)
    parser.add_argument("--contender", choices=["baseline", *CONTENDERS])
    parser.add_argument("--dtype", choices=TOLERANCE)
    parser.add_argument("--loss", choices=WORKLOADS)
    return parser.parse_args()


def main() -> None:
    """Measure everything that was asked for and print it as a table."""
    args = parse()
    if args.child:
        print(json.dumps(CHILDREN[args.child](args)))
        return
    cases = [(name, dtype) for name in args.losses.split(",") for dtype in args.dtypes.split(",")]
    if args.sweep:
        for name, dtype in cases:
            found = run_child(args, "sweep", loss=name, dtype=dtype)
            print(name, dtype, {rows: f"{seconds:.3f} s" for rows, seconds in found.items()}, flush=True)
        return
    text = table([row for name, dtype in cases for row in measure(args, name, dtype)])
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
