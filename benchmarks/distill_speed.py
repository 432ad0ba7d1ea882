r"""How fast and how large whole optimizer steps of `distill-eval distill` are, against other trainers and other data.

    distill-eval prepare --teacher HuggingFaceTB/SmolLM2-135M-Instruct --target-params 80M --fresh \
        --output-dir student80
    pip install --no-deps trl==1.16.0
    python benchmarks/distill_speed.py --teacher HuggingFaceTB/SmolLM2-135M-Instruct --student student80 \
        --data local/lm_corpus --short local/instruct_mix --short-column output --output distill_speed.md

Every contender is a process of its own that trains the same student from the same weights with AdamW and transformers'
loop; the processes take turns (A B C, A B C ...), the first steps of each warm up, speedups are medians of the rounds'
ratios of median step times, and peak memory is a process's largest resident size.

step:    forward KL at temperature 1 on rows of 512 tokens of which the second half is scored, as after a prompt.
         `trl` is TRL's stable DistillationTrainer, whose loss knows no hard labels; it generates its completions, so
         here it is given the rows' second halves instead and its generation costs nothing. It would checkpoint
         gradients by itself: here all contenders do (--gradient-checkpointing), or none. `textbook` is
         transformers.Trainer with both models' whole logits and F.kl_div. The losses of all steps are compared.
cached:  the default loss (alpha 0.7, temperature 2), every token scored: a live teacher, a cached one, and hard labels
         alone. The bound of live over cached is 1 + N_t / (3 N_s), parameters of teacher and student.
packing: short texts, packed into rows with documents isolated, against one text per padded row, at the number of rows
         that suits padding best; tokens of texts per second.
kept:    bytes per token of the cache and how far its forward KL is from the exact one, against exact top-64.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from distill_eval.distill.data import TrainingData
    from distill_eval.distill.data_config import DataConfig

IGNORED, SEED, WARM_UP = -100, 1234, 2
TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}
"""Relative difference between two contenders' losses at the same step; they share the first steps' weights at best."""
TOP_K = 64
PADDED = (1, 2, 4, 8)
"""Padded rows that are tried, in batches of packed ones."""


class Workload(NamedTuple):
    """Who trains, and what is to be reached against each of the others."""

    contenders: tuple[str, ...]
    speedup: float | None
    memory: float | None = None
    """Largest share of the other's peak memory."""


WORKLOADS = {
    "step": Workload(("ours", "trl", "textbook"), 1.3, 0.6),
    "cached": Workload(("cached", "live", "hard"), None),
    "packing": Workload(("packed", "padded"), 1.5),
}


# ---- what all contenders share


class Clock:
    """Seconds of every optimizer step, through the Trainer's callbacks."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def callback(self) -> Any:
        """For the Trainer."""
        from transformers import TrainerCallback

        seconds = self.seconds

        class Steps(TrainerCallback):
            began = 0.0

            def on_step_begin(self, *_: Any, **__: Any) -> None:
                self.began = time.perf_counter()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                seconds.append(time.perf_counter() - self.began)

        return Steps()


def arguments(args: argparse.Namespace, output: str) -> dict[str, Any]:
    """What every Trainer is told."""
    return {
        "output_dir": output,
        "max_steps": args.steps + WARM_UP,
        "per_device_train_batch_size": args.batch_size,
        "learning_rate": 1e-5,  # small: the contenders' weights stay near each other
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "gradient_checkpointing": args.gradient_checkpointing,  # TRL's default is on, transformers' is off
        "bf16": args.dtype == "bfloat16",
        "use_cpu": args.device == "cpu",
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "seed": SEED,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "include_num_input_tokens_seen": "no",
    }


def load_models(args: argparse.Namespace, *, teacher: bool) -> tuple[Any, Any]:
    """The student in float32, and its teacher in what it computes in."""
    from distill_eval.distill import models
    from distill_eval.schema.model import ModelRef

    student = models.load_student(models.locate(ModelRef.parse(args.student), role="student"), args.device)
    if not teacher:
        return student, None
    located = models.locate(ModelRef.parse(args.teacher), role="teacher")
    return student, models.load_teacher(located, args.dtype, args.device)


def data_config(args: argparse.Namespace, **changes: Any) -> DataConfig:
    """The first documents of --data, in full rows."""
    from distill_eval.distill.data_config import DataConfig

    config = DataConfig(
        data=args.data,
        max_length=args.length,
        packing="crossing",
        max_documents=args.documents,
        validation_documents=2,
    )
    return replace(config, **changes)


def load_data(config: DataConfig, student: str) -> TrainingData:
    """Rows for this student's tokenizer."""
    from distill_eval.distill import data, models
    from distill_eval.schema.model import ModelRef

    tokenizer = models.locate(ModelRef.parse(student), role="student").tokenizer
    return data.load(config, tokenizer, seed=SEED, batch_blocks=1)


def halves(texts: TrainingData, length: int) -> list[dict[str, Tensor]]:
    """Whole rows, of which the second half is scored: what a prompt and its completion look like."""
    rows = [texts.train[index] for index in range(len(texts.train))]  # type: ignore[arg-type]
    whole = [dict(row) for row in rows if len(row["input_ids"]) == length]
    for row in whole:
        labels = row["shift_labels"].clone()
        labels[: length // 2 - 1] = IGNORED  # position t predicts token t + 1
        labels[-1] = IGNORED  # the token behind the row is no token of it
        row["shift_labels"] = labels
    return whole


def finish(trainer: Any, clock: Clock, useful_tokens: int) -> dict[str, Any]:
    """Train; what the parent wants to know."""
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "seconds": clock.seconds[WARM_UP:],
        "losses": losses,
        "useful_tokens": useful_tokens,
        "bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def distill_trainer(args: argparse.Namespace, lesson: Any, student: Any, rows: Any, collate: Any, alpha: float) -> Any:
    """Ours, with a clock."""
    from transformers import PrinterCallback, TrainingArguments

    from distill_eval.distill.processes import Processes
    from distill_eval.distill.trainer import DistillTrainer

    clock = Clock()
    trainer = DistillTrainer(
        lesson=lesson,
        validation=tuple,
        processes=Processes(),
        alpha=lambda _: alpha,
        max_skipped=0,
        keep_checkpoints=1,
        model=student,
        args=TrainingArguments(**arguments(args, args.scratch)),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[clock.callback()],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, clock


def lesson_of(student: Any, signal: Any, temperature: float) -> Any:
    """Forward KL to what the signal says."""
    from distill_eval.distill.lesson import TextLesson

    return TextLesson(student, signal, divergence="forward_kl", temperature=temperature, beta=0.5)


# ---- one whole step: ours, TRL's, the textbook's


def child_ours(args: argparse.Namespace) -> dict[str, Any]:
    """DistillTrainer with a live teacher."""
    from distill_eval.distill.signals import LiveSignal

    texts = load_data(data_config(args), args.student)
    rows = halves(texts, args.length)
    student, teacher = load_models(args, teacher=True)
    lesson = lesson_of(student, LiveSignal((teacher,), (1.0,)), 1.0)
    trainer, clock = distill_trainer(args, lesson, student, rows, texts.collate, 1.0)
    return finish(trainer, clock, args.batch_size * args.length)


def child_textbook(args: argparse.Namespace) -> dict[str, Any]:
    """transformers.Trainer and the formula as it stands in every tutorial."""
    import torch
    import torch.nn.functional as F
    from transformers import PrinterCallback, Trainer, TrainingArguments

    rows = halves(load_data(data_config(args), args.student), args.length)
    student, teacher = load_models(args, teacher=True)

    class Textbook(Trainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            del num_items_in_batch  # one micro-batch per step
            labels = inputs["shift_labels"]
            logits = model(input_ids=inputs["input_ids"]).logits
            with torch.no_grad():
                target = teacher(input_ids=inputs["input_ids"]).logits.float().softmax(-1)
            terms = F.kl_div(logits.float().log_softmax(-1), target, reduction="none").sum(-1)
            loss = terms[labels != IGNORED].mean()
            return (loss, None) if return_outputs else loss

    clock = Clock()
    trainer = Textbook(
        model=student,
        args=TrainingArguments(**arguments(args, args.scratch)),
        train_dataset=rows,
        data_collator=stacked,
        callbacks=[clock.callback()],
    )
    trainer.remove_callback(PrinterCallback)
    return finish(trainer, clock, args.batch_size * args.length)


def stacked(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Rows of one length as a batch."""
    import torch

    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def child_trl(args: argparse.Namespace) -> dict[str, Any]:
    """TRL's DistillationTrainer at beta 0, which is forward KL, given completions instead of generating them."""
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import AutoTokenizer, PrinterCallback
    from trl import DistillationConfig, DistillationTrainer

    rows = halves(load_data(data_config(args), args.student), args.length)
    student, teacher = load_models(args, teacher=True)
    order = shuffled(args, len(rows))
    half = args.length // 2

    class Offline(DistillationTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

        def _prepare_inputs(self, generation_batch: Any) -> Any:
            ids = torch.stack([rows[item["row"]]["input_ids"] for item in generation_batch]).to(args.device)
            ones = torch.ones_like(ids)
            return {
                "prompt_ids": ids[:, :half],
                "prompt_mask": ones[:, :half],
                "completion_ids": ids[:, half:],
                "completion_mask": ones[:, half:],
                "num_items_in_batch": torch.tensor(ids[:, half:].numel(), device=args.device),
            }

    clock = Clock()
    dataset = Dataset.from_list([{"prompt": "", "row": index} for index in order])
    trainer = Offline(
        model=student,
        teacher_model=teacher,
        args=DistillationConfig(**arguments(args, args.scratch), beta=0.0, temperature=1.0, shuffle_dataset=False),
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(args.student, padding_side="left"),
        callbacks=[clock.callback()],
    )
    trainer.remove_callback(PrinterCallback)
    return finish(trainer, clock, args.batch_size * args.length)


def shuffled(args: argparse.Namespace, num_rows: int) -> list[int]:
    """The order in which transformers' Trainer takes rows with our seed."""
    from torch import nn
    from transformers import Trainer, TrainingArguments

    class Numbers(list[Any]):
        """A data set whose rows are their numbers."""

    trainer = Trainer(
        model=nn.Linear(1, 1),
        args=TrainingArguments(**arguments(args, args.scratch)),
        train_dataset=Numbers({"row": index} for index in range(num_rows)),
        data_collator=lambda items: {"row": [item["row"] for item in items]},
    )
    return [index for batch in trainer.get_train_dataloader() for index in batch["row"]]


# ---- a live teacher, a cached one, none


def child_cached(args: argparse.Namespace) -> dict[str, Any]:
    """The default loss with a cached teacher."""
    from distill_eval.distill.cached_signal import CachedSignal
    from distill_eval.distill.signals import KeptSignal

    texts = load_data(data_config(args), args.student)
    student, _ = load_models(args, teacher=False)
    signal = KeptSignal(CachedSignal(Path(args.cache), {"data_digest": texts.train.digest}))  # type: ignore[union-attr]
    trainer, clock = distill_trainer(args, lesson_of(student, signal, 2.0), student, texts.train, texts.collate, 0.7)
    return finish(trainer, clock, args.batch_size * args.length)


def child_live(args: argparse.Namespace) -> dict[str, Any]:
    """The same with the teacher beside the student."""
    from distill_eval.distill.signals import LiveSignal

    texts = load_data(data_config(args), args.student)
    student, teacher = load_models(args, teacher=True)
    lesson = lesson_of(student, LiveSignal((teacher,), (1.0,)), 2.0)
    trainer, clock = distill_trainer(args, lesson, student, texts.train, texts.collate, 0.7)
    return finish(trainer, clock, args.batch_size * args.length)


def child_hard(args: argparse.Namespace) -> dict[str, Any]:
    """Plain training: the same trainer without a teacher."""
    texts = load_data(data_config(args), args.student)
    student, _ = load_models(args, teacher=False)
    trainer, clock = distill_trainer(args, lesson_of(student, None, 1.0), student, texts.train, texts.collate, 0.0)
    return finish(trainer, clock, args.batch_size * args.length)


# ---- packed and padded rows of the same texts


def child_packed(args: argparse.Namespace) -> dict[str, Any]:
    """Documents share rows and do not see each other."""
    return _short_texts(args, "isolated")


def child_padded(args: argparse.Namespace) -> dict[str, Any]:
    """One conversation per row, a batch padded to its longest."""
    return _short_texts(args, "none")


def _short_texts(args: argparse.Namespace, packing: str) -> dict[str, Any]:
    config = data_config(
        args, data=args.short, text_column=args.short_column, packing=packing, max_documents=args.documents * 20
    )
    texts = load_data(config, args.student)
    student, _ = load_models(args, teacher=False)
    seen: list[int] = []

    def collate(rows: Any) -> Any:
        seen.append(sum(len(row["input_ids"]) for row in rows))
        return texts.collate(rows)

    trainer, clock = distill_trainer(args, lesson_of(student, None, 1.0), student, texts.train, collate, 0.0)
    found = finish(trainer, clock, 0)
    taken = seen[WARM_UP : WARM_UP + len(found["seconds"])]
    return found | {"useful_tokens": sum(taken) / len(taken)}


# ---- what a cache keeps


def child_kept(args: argparse.Namespace) -> dict[str, Any]:
    """Mean forward KL over the rows: exact, from the cache, and of the exact 64 most likely tokens."""
    import torch

    from distill_eval.distill.cached_signal import CachedSignal
    from distill_eval.distill.kept_rows import SampledRows
    from distill_eval.distill.targets import SampleTarget, TopKTarget

    texts = load_data(data_config(args), args.student)
    student, teacher = load_models(args, teacher=True)
    student.eval()
    cache = CachedSignal(Path(args.cache), {"data_digest": texts.train.digest})  # type: ignore[union-attr]
    totals = {"exact": 0.0, "cache": 0.0, "top_k": 0.0, "cache_square": 0.0}
    count = 0
    with torch.no_grad():
        for index in range(min(args.kept_rows, len(texts.train))):  # type: ignore[arg-type]
            row = texts.collate([texts.train[index]])
            scored = row["shift_labels"] != IGNORED
            ours, theirs = (
                (model(input_ids=row["input_ids"]).logits[scored].float() / 2.0).log_softmax(-1)
                for model in (student, teacher)
            )
            exact = (theirs.exp() * (theirs - ours)).sum(-1)
            drawn = cache.rows(row["index"], SampledRows)
            kept, ids = theirs.topk(TOP_K, -1)
            tail = (1 - kept.exp().sum(-1)).clamp(min=0)
            every = slice(None)
            cached = SampleTarget(drawn.ids_NK, drawn.entropy_N).measure(ours.clone(), every, None, 2.0).value_N  # type: ignore[arg-type]
            top = TopKTarget(ids, kept, tail).measure(ours.clone(), every, None, 2.0).value_N  # type: ignore[arg-type]
            totals["exact"] += float(exact.sum())
            totals["cache"] += float(cached.sum())
            totals["cache_square"] += float((cached - exact).square().sum())
            totals["top_k"] += float(top.sum())
            count += len(exact)
    means = {name: total / count for name, total in totals.items()}
    return {
        "num_tokens": count,
        "bytes_per_token": cache.manifest.bytes_per_token,
        "num_kept": cache.manifest.key.num_kept,
        "exact": means["exact"],
        "cache_error": means["cache"] - means["exact"],
        "cache_stderr": math.sqrt(means["cache_square"] / count),
        "top_k_error": means["top_k"] - means["exact"],
    }


def child_cache(args: argparse.Namespace) -> dict[str, Any]:
    """Ask the teacher once."""
    from distill_eval.distill import cache_stage
    from distill_eval.distill.cache_config import CacheTeacherConfig

    config = CacheTeacherConfig(
        teacher=args.teacher,
        student=args.student,
        data=data_config(args),
        teacher_dtype=args.dtype,
        temperature=2.0,
        output_dir=Path(args.cache),
    )
    manifest = cache_stage.run(config, say=lambda line: print(line, file=sys.stderr))
    return {"bytes_per_token": manifest.bytes_per_token}


CHILDREN: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    name.removeprefix("child_"): function for name, function in list(globals().items()) if name.startswith("child_")
}


# ---- the parent


def run_child(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """The JSON that a process of its own prints last."""
    command = [sys.executable, __file__, "--child", name]
    for option, value in vars(args).items():
        if value not in (None, False) and option not in ("child", "output", "workloads"):
            command += [f"--{option.replace('_', '-')}", *([] if value is True else [str(value)])]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


def measure(args: argparse.Namespace, name: str) -> list[str]:
    """The workload's rows of the table."""
    load = WORKLOADS[name]
    if name == "packing":
        rows = [args.batch_size * factor for factor in PADDED]
        args.padded_rows = max(rows, key=lambda size: rate(run_child(with_rows(args, size), "padded")))
        print(f"padded is fastest at {args.padded_rows} rows", file=sys.stderr)
    rounds = []
    for number in range(args.rounds):
        rounds.append({contender: run_child(args, contender) for contender in load.contenders})
        print(f"{name}, round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    ours = load.contenders[0]
    if name == "step":
        check_losses(args, rounds, load)
    lines = []
    for peer in load.contenders[1:]:
        rates = [(rate(found[ours]), rate(found[peer])) for found in rounds]
        ratios = [a / b for a, b in rates]
        peaks = [statistics.median(found[who]["bytes"] for found in rounds) / 1e6 for who in (ours, peer)]
        cells = [
            name,
            f"{ours} / {peer}",
            f"{statistics.median(a for a, _ in rates):.0f} / {statistics.median(b for _, b in rates):.0f}",
            f"{statistics.median(ratios):.2f}x ({', '.join(f'{ratio:.2f}' for ratio in ratios)})",
            goal(args, load, name, peer),
            f"{peaks[0]:,.0f} / {peaks[1]:,.0f}",
            f"{peaks[0] / peaks[1]:.2f}",
            "-" if load.memory is None else f"at most {load.memory}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def with_rows(args: argparse.Namespace, padded_rows: int) -> argparse.Namespace:
    """The same at another number of padded rows."""
    return argparse.Namespace(**{**vars(args), "padded_rows": padded_rows})


def rate(found: dict[str, Any]) -> float:
    """Useful tokens per second of a median step."""
    return float(found["useful_tokens"] / statistics.median(found["seconds"]))


def goal(args: argparse.Namespace, load: Workload, name: str, peer: str) -> str:
    """What the ratio is to be."""
    if name != "cached":
        return f"{load.speedup}x"
    if peer == "hard":
        return "0.9x"
    from distill_eval.distill import models
    from distill_eval.schema.model import ModelRef

    sizes = [
        models.num_parameters(models.locate(ModelRef.parse(ref), role="model").config)
        for ref in (args.teacher, args.student)
    ]
    bound = 1 + sizes[0] / (3 * sizes[1])
    return f"{0.8 * bound:.2f}x (80 % of {bound:.2f})"


def check_losses(args: argparse.Namespace, rounds: list[dict[str, Any]], load: Workload) -> None:
    """Every contender has the same loss at every step."""
    for found in rounds:
        for peer in load.contenders[1:]:
            pairs = zip(found[load.contenders[0]]["losses"], found[peer]["losses"], strict=True)
            worst = max(abs(ours / theirs - 1) for ours, theirs in pairs)
            print(f"largest relative difference of a step's loss to {peer}: {worst:.1e}", file=sys.stderr)
            if not worst <= TOLERANCE[args.dtype]:
                sys.exit(f"the losses of {peer} differ from ours by {worst:.1e} of them")


def parse() -> argparse.Namespace:
    """The command line; --child, --padded-rows, --scratch and --cache are for the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", required=True, help="folder")
    parser.add_argument("--data", required=True, help="plain text, as for distill")
    parser.add_argument("--short", help="short texts, for `packing`")
    parser.add_argument("--short-column", default="text")
    parser.add_argument("--workloads", default="step,cached,packing,kept")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help=f"timed, after {WARM_UP} that warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kept-rows", type=int, default=40, help="rows of which `kept` takes the mean")
    parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="for every contender")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", choices=CHILDREN)
    parser.add_argument("--padded-rows", type=int)
    parser.add_argument("--scratch")
    parser.add_argument("--cache")
    return parser.parse_args()


def main() -> None:
    """Measure everything that was asked for and print it as a table."""
    args = parse()
    if args.child:
        import torch

        torch.set_num_threads(args.threads)
        print(json.dumps(CHILDREN[args.child](args)))
        return
    head = "workload, of, tokens/s, ratio: median (each), goal, peak MB, share, goal"
    lines = [f"| {head.replace(', ', ' | ')} |", "|---|---|--:|--:|--:|--:|--:|--:|"]
    wanted = args.workloads.split(",")
    notes = []
    with tempfile.TemporaryDirectory() as scratch:
        args.scratch, args.cache = scratch, f"{scratch}/cache"
        if {"cached", "kept"} & set(wanted):
            run_child(args, "cache")
        for name in wanted:
            if name != "kept":
                lines += measure(args, name)
        if "kept" in wanted:
            kept = run_child(args, "kept")
            said = (
                f"The cache: {kept['bytes_per_token']:.1f} bytes per token ({kept['num_kept']} ids). Forward KL at "
                f"temperature 2 over {kept['num_tokens']:,} tokens: {kept['exact']:.4f} nats exactly; from the cache "
                f"{kept['cache_error']:+.4f} (standard error of a draw {kept['cache_stderr']:.4f}); from the exact "
                f"{TOP_K} most likely tokens and the tail's mass {kept['top_k_error']:+.4f}."
            )
            notes = ["", said]
    text = "\n".join(lines + notes)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
