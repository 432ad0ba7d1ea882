"""How fast the prefix-tree scorer is against lm-eval's own HFLM, on the same documents, in one run.

    python benchmarks/compare_speed.py --model HuggingFaceTB/SmolLM2-135M-Instruct --rounds 3 --output speed.md

For every workload the two score the same requests in turn (A B A B ...). lm-eval first gets the batch size that suits
it best, found on the first tenth of the documents. All log-likelihoods are compared; in float32 a difference of more
than 1e-3 nats, or of one greedy flag, ends the run with an error. Times are what the model's part
of an evaluation takes, tokenization included; loading tasks and rendering prompts is the same for both and left out.
`--command` measures whole commands instead: `distill-eval compare` against two runs of `lm_eval run`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
TOLERANCE = 1e-3
"""Nats, float32."""
MMLU = "mmlu_anatomy,mmlu_business_ethics"


WARM_INDEX = """
from distill_eval.evaluate.harness.index import open_manager
from distill_eval.store import Store
open_manager(None, Store().get, Store().put)
"""


class Workload(NamedTuple):
    """Tasks with their number of shots and of documents per task."""

    tasks: str
    num_fewshot: int
    limit: int
    target: float


WORKLOADS = {
    "mmlu-5shot": Workload(MMLU, 5, 100, 6.5),
    "arc_challenge-25shot": Workload("arc_challenge", 25, 24, 3.5),
    "arc_easy-10shot": Workload("arc_easy", 10, 50, 3.5),
    "arc_easy-0shot": Workload("arc_easy", 0, 200, 3.0),
    "arc_challenge-0shot": Workload("arc_challenge", 0, 200, 3.0),
    "hellaswag-0shot": Workload("hellaswag", 0, 100, 2.0),
    "winogrande-0shot": Workload("winogrande", 0, 400, 1.9),
    "boolq-0shot": Workload("boolq", 0, 120, 1.25),
    "lambada_openai": Workload("lambada_openai", 0, 250, 1.25),
}


class Bench:
    """Both engines on one model, and lm-eval's tasks."""

    def __init__(self, folder: str, dtype: str, vocab_size: int | None) -> None:
        self.folder, self.dtype, self.vocab_size = folder, dtype, vocab_size
        from distill_eval.evaluate.harness.index import open_manager
        from distill_eval.store import Store

        store = Store()
        self.manager = open_manager(None, store.get, store.put)

    def model(self) -> Any:
        """The checkpoint; or random weights of its shape with another vocabulary."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        dtype = getattr(torch, self.dtype)
        if self.vocab_size is None:
            return AutoModelForCausalLM.from_pretrained(self.folder, dtype=dtype).eval()
        config = AutoConfig.from_pretrained(self.folder)
        config.vocab_size = self.vocab_size
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()

    def engine(self, name: str, batch_size: int = 1, batch_tokens: int | None = None) -> Any:
        """`hf` is lm-eval's own; `prefix` is ours."""
        from lm_eval.models.huggingface import HFLM
        from transformers import AutoTokenizer

        from distill_eval.evaluate.harness.lm import SharedPrefixLM

        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        if name == "hf":
            return HFLM(pretrained=self.model(), tokenizer=tokenizer, batch_size=batch_size)
        return SharedPrefixLM(self.model(), tokenizer, batch_tokens=batch_tokens)

    def requests(self, workload: Workload) -> list[list[Any]]:
        """The rendered requests of each task."""
        from distill_eval.evaluate.harness import tasks

        options = tasks.TaskOptions(workload.num_fewshot, workload.limit, 1234)
        loaded = tasks.load_tasks(self.manager, workload.tasks.split(","), options)
        return [tasks.build(task, options).instances for task in loaded.tasks.values()]


def run(engine: Any, requests: list[list[Any]]) -> tuple[float, list[Any]]:
    """Seconds and responses of one engine on all tasks of a workload."""
    from distill_eval.evaluate.harness.requests import Recorder

    began, responses = time.perf_counter(), []
    for instances in requests:
        if hasattr(engine, "recorder"):
            engine.recorder = Recorder()
        responses += getattr(engine, instances[0].request_type)(instances, disable_tqdm=True)
    return time.perf_counter() - began, responses


def best_batch_size(engine: Any, requests: list[list[Any]]) -> int:
    """The batch size at which lm-eval is fastest on the first tenth of the documents."""
    first = [instances[: max(16, len(instances) // 10)] for instances in requests[:1]]
    run(engine, [first[0][:4]])  # the first pass of a process is slow
    seconds: dict[int, float] = {}
    for size in BATCH_SIZES:
        engine.batch_size_per_gpu = size
        seconds[size] = run(engine, first)[0]
        if seconds[size] > 1.5 * min(seconds.values()):  # larger batches only get worse from here
            break
    return min(seconds, key=lambda size: seconds[size])


def agreement(expected: list[Any], found: list[Any]) -> tuple[float, int]:
    """Largest difference of a log-likelihood in nats, and how many `is_greedy` differ."""
    worst = max(abs(a[0] - b[0]) for a, b in zip(expected, found, strict=True))
    return worst, sum(a[1] != b[1] for a, b in zip(expected, found, strict=True))


def measure(bench: Bench, names: list[str], rounds: int, documents: int | None) -> list[dict[str, Any]]:
    """One row per workload."""
    peer, ours = bench.engine("hf"), bench.engine("prefix")
    rows = []
    for name in names:
        workload = WORKLOADS[name]
        requests = bench.requests(workload._replace(limit=documents or workload.limit))
        run(ours, [requests[0][:8]])  # the first batch checks the model and packs its weights
        size = best_batch_size(peer, requests)
        peer.batch_size_per_gpu = size
        times: list[tuple[float, float]] = []
        expected, found = list[Any](), list[Any]()
        for _ in range(rounds):
            peer_seconds, expected = run(peer, requests)
            our_seconds, found = run(ours, requests)
            times.append((peer_seconds, our_seconds))
        worst, flips = agreement(expected, found)
        if bench.dtype == "float32" and (worst > TOLERANCE or flips):
            sys.exit(f"{name}: the scores differ by {worst:.1e} nats and {flips} greedy flags from lm-eval's")
        rows.append(
            {
                "workload": name,
                "documents": sum(len({r.doc_id for r in part}) for part in requests),
                "lm_eval_batch_size": size,
                "lm_eval_s": statistics.median(a for a, _ in times),
                "distill_eval_s": statistics.median(b for _, b in times),
                "ratios": [round(a / b, 3) for a, b in times],
                "speedup": statistics.median(a / b for a, b in times),
                "target": WORKLOADS[name].target,
                "max_abs_diff": worst,
                "greedy_differs": flips,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as markdown."""
    lines = [
        "| workload | documents | lm-eval (batch) s | distill-eval s | speedup, median (each) | target | max diff |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        each = ", ".join(f"{ratio:.2f}" for ratio in row["ratios"])
        cells = [
            row["workload"],
            row["documents"],
            f"{row['lm_eval_s']:.1f} ({row['lm_eval_batch_size']})",
            f"{row['distill_eval_s']:.1f}",
            f"{row['speedup']:.2f}x ({each})",
            f"{row['target']}x",
            f"{row['max_abs_diff']:.1e}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def peak_memory(args: argparse.Namespace, workload: str) -> dict[str, float]:
    """Peak resident memory in MB of each engine, each in a process of its own."""
    found = {}
    for engine in ("hf", "prefix"):
        command = [sys.executable, __file__, "--model", args.model, "--dtype", args.dtype, "--child", engine]
        command += ["--workloads", workload, "--batch-size", str(args.batch_size)]
        command += ["--vocab-size", str(args.vocab_size)] if args.vocab_size else []
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[engine] = float(out.strip().splitlines()[-1])
    return found


class Commands(NamedTuple):
    """Seconds of each command by round, and how the scores of the two tools differ."""

    seconds: dict[str, list[float]]
    differences: list[str]


def whole_commands(args: argparse.Namespace) -> Commands:
    """Two `lm_eval run` and one `distill-eval compare`, start-up included, in turn; then the cached cases."""
    done = Commands({"lm_eval x 2": [], "compare": [], "second student": [], "again": []}, [])
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            seconds = [timed(lm_eval_command(args, model, folder / role)) for role, model in roles(args).items()]
            done.seconds["lm_eval x 2"].append(sum(seconds))
            env = {**os.environ, "DISTILL_EVAL_CACHE": str(folder / "cache")}
            warm = [sys.executable, "-c", WARM_INDEX]
            subprocess.run(warm, check=True, env=env)  # the task index is built once per lm-eval installation
            for label, student in (("compare", args.student), ("second student", args.second), ("again", args.second)):
                if student:
                    done.seconds[label].append(timed(our_command(args, student, folder / label), env))
            done.differences[:] = differences(folder)
        print(number, {label: values[-1] for label, values in done.seconds.items() if values}, flush=True)
    return done


def roles(args: argparse.Namespace) -> dict[str, str]:
    """The two models of a comparison."""
    return {"teacher": args.model, "student": args.student}


def timed(command: list[str], env: dict[str, str] | None = None) -> float:
    """Seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=env)
    return time.perf_counter() - began


def lm_eval_command(args: argparse.Namespace, model: str, output: Path) -> list[str]:
    """`lm_eval run` on one model."""
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu", "--tasks", args.tasks]
    command += ["--num_fewshot", str(args.num_fewshot), "--limit", str(args.limit), "--output_path", str(output)]
    return [*command, "--batch_size", str(args.batch_size), "--model_args", f"pretrained={model},dtype={args.dtype}"]


def our_command(args: argparse.Namespace, student: str, output: Path) -> list[str]:
    """`distill-eval compare` of the teacher and one student."""
    command = [sys.executable, "-m", "distill_eval.cli", "compare", "--teacher", args.model, "--student", student]
    command += ["--tasks", args.tasks, "--limit", str(args.limit), "--num-fewshot", str(args.num_fewshot)]
    return [*command, "--dtype", args.dtype, "--device", "cpu", "--output-dir", str(output)]


def differences(folder: Path) -> list[str]:
    """Both tools' value of every task and metric that lm-eval reports, and their difference in standard errors."""
    entries = json.loads((folder / "compare" / "retention.json").read_text())["entries"]
    lines = []
    for role in ("teacher", "student"):
        results = json.loads(next((folder / role).rglob("results_*.json")).read_text())["results"]
        for entry in entries:
            if entry[f"lm_eval_{role}"] is None:  # derived where lm-eval prints none
                continue
            metric = f"{entry['metric']},{entry['filter']}"
            theirs, ours = results[entry["task"]][metric], entry[f"lm_eval_{role}"]
            stderr = results[entry["task"]].get(metric.replace(",", "_stderr,", 1))
            known = isinstance(stderr, float) and stderr > 0
            apart = f"{abs(ours - theirs) / stderr:.2f} standard errors" if known else "no standard error"
            lines.append(f"{role} {entry['task']} {metric}: lm_eval {theirs:.6g}, compare {ours:.6g}, apart {apart}")
    return lines


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or Hub name")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--vocab-size", type=int, help="random weights of the model's shape with this vocabulary")
    parser.add_argument("--workloads", default=",".join(WORKLOADS))
    parser.add_argument("--documents", type=int, help="per task, instead of the workload's own number")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="append the table to this file")
    parser.add_argument("--memory", action="store_true", help="peak memory of both instead of times")
    parser.add_argument("--command", action="store_true", help="whole commands instead of scoring")
    parser.add_argument("--student", help="--command: the student")
    parser.add_argument("--second", help="--command: a second student, for a cached teacher and for a repeated run")
    parser.add_argument("--tasks", default=MMLU)
    parser.add_argument("--num-fewshot", type=int, default=5)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=4, help="lm-eval's, for --command and --memory")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.command and not args.student:
        parser.error("--command needs --student")
    names = args.workloads.split(",")
    if args.command:
        done = whole_commands(args)
        medians = {label: statistics.median(values) for label, values in done.seconds.items() if values}
        each = {label: [round(value, 1) for value in values] for label, values in done.seconds.items()}
        lines = [f"{label}: median {seconds:.1f} s of {each[label]}" for label, seconds in medians.items()]
        text = "\n".join([*lines, f"speedup {medians['lm_eval x 2'] / medians['compare']:.2f}x", *done.differences])
    elif args.child:
        bench = Bench(args.model, args.dtype, args.vocab_size)
        run(bench.engine(args.child, args.batch_size), bench.requests(WORKLOADS[names[0]]))
        text = str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
    elif args.memory:
        text = "\n".join(f"{name}: peak MB {peak_memory(args, name)}" for name in names)
    else:
        text = table(measure(Bench(args.model, args.dtype, args.vocab_size), names, args.rounds, args.documents))
    print(text)
    if args.output:
        with args.output.open("a") as file:
            file.write(f"`{' '.join(['python', *sys.argv])}`\n\n{text}\n\n")


if __name__ == "__main__":
    main()
