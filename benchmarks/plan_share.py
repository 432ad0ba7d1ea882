r"""What share of this machine's peak `distill-eval compare` reaches while it scores: what a plan's time rests on.

    OMP_NUM_THREADS=1 python benchmarks/plan_share.py --teacher HuggingFaceTB/SmolLM2-135M-Instruct --student half

Each task is compared twice, on few and on more documents, each time in a process with an empty cache. The processor's
seconds that the additional documents took are held against the operations of both models on their tokens, as a plan
counts them. `pipeline/planned_tasks.py` has the result as `CPU_SHARE`.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FEW, MORE = 16, 144
TASKS = "arc_easy,lambada_openai,sciq"


def seconds(task: str, limit: int, args: argparse.Namespace) -> float:
    """That the processor worked for a whole comparison."""
    before = _worked()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "distill_eval.cli", "compare", "--tasks", task, "--limit", str(limit)]
        command += ["--teacher", args.teacher, "--student", args.student, "--dtype", "bfloat16", "--device", "cpu"]
        command += ["--output-dir", f"{folder}/out"]
        env = os.environ | {"DISTILL_EVAL_CACHE": f"{folder}/cache"}
        subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return _worked() - before


def _worked() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def num_tokens(task: str, limit: int, tokenizer: Any, max_length: int) -> int:
    """That one model reads."""
    from distill_eval.evaluate.sizes import Tasks
    from distill_eval.store import Store

    with tempfile.TemporaryDirectory() as folder:
        tasks = Tasks(Store(Path(folder)))
        found = tasks.sizes(tasks.leaves(task), limit=limit, tokenizer=tokenizer, max_length=max_length)
    return sum(one.num_shared_tokens or 0 for one in found.values())


def main() -> None:
    """Print a line per task."""
    from transformers import AutoConfig, AutoTokenizer

    from distill_eval.plan.flops import forward_flops
    from distill_eval.plan.hardware import CPU, this_machine
    from distill_eval.plan.sizes import model_sizes

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--student", required=True)
    parser.add_argument("--tasks", default=TASKS)
    args = parser.parse_args()
    here, tokenizer = this_machine(CPU), AutoTokenizer.from_pretrained(args.teacher)
    models = [
        model_sizes(AutoConfig.from_pretrained(name), "causal", name=name, source=name)
        for name in (args.teacher, args.student)
    ]
    max_length = models[0].max_length or 2048
    print(f"Peak: {here.flops / 1e9:,.0f} GFLOP/s ({here.source})\n")
    print("| task | tokens | seconds of the processor | share of the peak |\n|---|--:|--:|--:|")
    for task in args.tasks.split(","):
        tokens = num_tokens(task, MORE, tokenizer, max_length) - num_tokens(task, FEW, tokenizer, max_length)
        took = seconds(task, MORE, args) - seconds(task, FEW, args)
        flops = tokens * sum(forward_flops(model, tokens / (MORE - FEW)) for model in models)
        print(f"| {task} | {tokens:,} | {took:.2f} | {flops / (took * here.flops):.3f} |", flush=True)


if __name__ == "__main__":
    main()
