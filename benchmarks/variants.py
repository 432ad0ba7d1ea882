r"""What the variants of a model weigh and how fast they are, each on the engine that runs it, in one run.

    python benchmarks/variants.py --model HuggingFaceTB/SmolLM2-135M-Instruct --text local/lm_corpus \
        --folder variants --output variants.md

Variants that are not in --folder yet are made first, one process each: `quantize` (W8A8, W8A16, W4A16 by rounding and
by AutoRound, bitsandbytes int8 and nf4) and `export` (ONNX fp32, int8, int4 by rounding and by k-quant). Every speed is
measured in a process of its own; the processes take turns (A B C, A B C ...), and speedups are medians of the rounds'
ratios to transformers in the same round.

decode:  tokens per second of one stream, greedy, behind a prompt of --prompt-tokens, the first token left out.
prefill: tokens per second of reading --prefill-tokens at once. transformers projects the last position onto the
         vocabulary, an exported graph all of them.
served:  output tokens per second of --concurrency streams on a vLLM server (--engines vllm), ratio to vLLM bfloat16.
KL, top-1: from `fidelity` on the same text for all variants, against the model in bfloat16.

A variant that is slower than transformers in bfloat16 is printed in bold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

PROMPT = "The history of the city begins with the river. "
"""Repeated to the wanted number of tokens: nothing here depends on what is said, only on how much."""
PARALLEL_PROMPTS = 2
"""Requests per stream on the server."""


class Variant(NamedTuple):
    """One row of the table."""

    name: str
    engine: str
    folder: str
    """Below --folder; empty: the model itself."""
    dtype: str = "auto"
    make: tuple[str, ...] = ()
    """The verb and its options."""


VARIANTS = (
    Variant("transformers fp32", "hf", "", "float32"),
    Variant("transformers bf16", "hf", "", "bfloat16"),
    Variant("bitsandbytes int8", "hf", "int8", make=("quantize", "--scheme", "int8")),
    Variant("bitsandbytes nf4", "hf", "nf4", make=("quantize", "--scheme", "nf4")),
    Variant("W8A8, rounded", "hf", "w8a8", make=("quantize", "--scheme", "W8A8")),
    Variant("W8A16, rounded", "hf", "w8a16", make=("quantize", "--scheme", "W8A16")),
    Variant("W4A16, rounded", "hf", "w4a16", make=("quantize", "--scheme", "W4A16")),
    Variant("W4A16, AutoRound", "hf", "w4a16-ar", make=("quantize", "--scheme", "W4A16", "--algorithm", "autoround")),
    Variant("ONNX fp32", "onnx", "onnx-fp32", make=("export", "--precision", "fp32")),
    Variant("ONNX int8", "onnx", "onnx-int8", make=("export", "--precision", "int8")),
    Variant("ONNX int4, rounded", "onnx", "onnx-int4", make=("export", "--precision", "int4")),
    Variant(
        "ONNX int4, k-quant",
        "onnx",
        "onnx-int4-k",
        make=("export", "--precision", "int4", "--int4-algorithm", "k-quant"),
    ),
    Variant("vLLM bf16", "vllm", "", "bfloat16"),
    Variant("vLLM W8A8", "vllm", "w8a8", "bfloat16"),
    Variant("vLLM W4A16", "vllm", "w4a16", "bfloat16"),
)
BASELINE, SERVED_BASELINE = "transformers bf16", "vLLM bf16"


# ---- one process: make a variant, or time it


def child_make(args: argparse.Namespace, variant: Variant) -> dict[str, Any]:
    """Run the verb in this process; seconds and peak memory are those of the whole command."""
    from distill_eval.cli import main

    verb, *options = variant.make
    output = str(Path(args.folder) / variant.folder)
    words = [verb, "--model", args.model, "--output-dir", output, *options]
    if verb == "quantize":
        words += ["--calibration", args.text, "--calibration-samples", str(args.calibration_samples)]
        words += ["--held-out-samples", "8"]
        words += ["--iterations", str(args.iterations)] if "autoround" in options else []
    else:
        words += ["--format", "onnx", "--text", args.text]
    began = time.perf_counter()
    code = main(words)
    if code:
        sys.exit(code)
    return {
        "seconds": time.perf_counter() - began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def child_time(args: argparse.Namespace, variant: Variant) -> dict[str, Any]:
    """Decode and prefill, after one pass of each that warms up."""
    import torch

    torch.set_num_threads(args.threads)
    folder = where(args, variant)
    return _time_onnx(args, folder) if variant.engine == "onnx" else _time_hf(args, folder, variant.dtype)


def where(args: argparse.Namespace, variant: Variant) -> Path:
    """The variant's folder."""
    from distill_eval import checkpoint
    from distill_eval.schema.model import ModelRef

    if variant.folder:
        return Path(args.folder) / variant.folder
    return checkpoint.locate_with_weights(ModelRef.parse(args.model), checkpoint.SMALL_FILES, role="model")


def prompt(tokenizer: Any, num_tokens: int) -> list[int]:
    """So many tokens of text."""
    ids: list[int] = tokenizer(PROMPT * num_tokens)["input_ids"]
    return ids[:num_tokens]


def _time_hf(args: argparse.Namespace, folder: Path, dtype: Any) -> dict[str, Any]:
    import torch

    from distill_eval.engine import hf

    loaded = hf.load(folder, dtype=dtype)
    model, tokenizer = loaded.model, loaded.tokenizer
    model.generation_config.eos_token_id = None  # all streams are of one length
    short, long = (torch.tensor([prompt(tokenizer, num)]) for num in (args.prompt_tokens, args.prefill_tokens))

    def generate(num_tokens: int) -> None:
        model.generate(short, attention_mask=torch.ones_like(short), max_new_tokens=num_tokens, do_sample=False)

    def read() -> None:
        model(long, logits_to_keep=1)

    with torch.inference_mode():
        return measured(args, generate, read)


def _time_onnx(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from distill_eval.engine import genai

    model = genai.load(folder, num_threads=args.threads)
    short, long = (prompt(model.tokenizer, num) for num in (args.prompt_tokens, args.prefill_tokens))

    def generate(num_tokens: int) -> None:
        written = sum(1 for _ in model.greedy_stream(short, num_tokens))
        if written < num_tokens:
            sys.exit(f"{folder} ended its text after {written} of {num_tokens} tokens")

    def read() -> None:
        model.logits(long)

    return measured(args, generate, read)


def measured(args: argparse.Namespace, generate: Any, read: Any) -> dict[str, Any]:
    """Tokens per second: of decoding by the difference of a long and a short text, of prefill the median."""
    few, many = 2, 2 + args.decode_tokens
    generate(few)
    read()
    short, long = (min(clock(lambda n=num: generate(n)) for _ in range(2)) for num in (few, many))
    prefill = statistics.median(clock(read) for _ in range(3))
    return {
        "decode": args.decode_tokens / (long - short),
        "prefill": args.prefill_tokens / prefill,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def clock(run: Any) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def child_serve(args: argparse.Namespace, variant: Variant) -> dict[str, Any]:
    """Output tokens per second of many streams on a vLLM server of its own."""
    from distill_eval.serving.config import ServeConfig
    from distill_eval.serving.server import free_port, serve

    folder = where(args, variant)
    config = ServeConfig(model=folder, served_name="model", dtype=variant.dtype, max_model_len=1024, port=free_port())
    with serve(config, Path(args.folder) / f"{variant.folder or 'model'}.serve.log") as endpoint:
        asyncio.run(_ask(endpoint, args, args.concurrency))  # warms up
        began = time.perf_counter()
        tokens = asyncio.run(_ask(endpoint, args, args.concurrency * PARALLEL_PROMPTS))
        return {"served": tokens / (time.perf_counter() - began)}


async def _ask(endpoint: Any, args: argparse.Namespace, num_requests: int) -> int:
    import httpx

    room = asyncio.Semaphore(args.concurrency)
    body = {"model": endpoint.model, "max_tokens": args.decode_tokens, "temperature": 0, "ignore_eos": True}

    async def one(client: httpx.AsyncClient, number: int) -> int:
        async with room:
            text = f"{number}. {PROMPT * (args.prompt_tokens // 10)}"
            answer = await client.post("/v1/completions", json=body | {"prompt": text})
            answer.raise_for_status()
            return int(answer.json()["usage"]["completion_tokens"])

    async with httpx.AsyncClient(base_url=endpoint.address, timeout=600) as client:
        return sum(await asyncio.gather(*(one(client, number) for number in range(num_requests))))


CHILDREN = {"make": child_make, "time": child_time, "serve": child_serve}


# ---- the parent


def run_child(args: argparse.Namespace, what: str, variant: Variant) -> dict[str, Any]:
    """The JSON that a process of its own prints last."""
    command = [sys.executable, __file__, "--child", what, "--variant", variant.name]
    for option, value in vars(args).items():
        if value is not None and option not in ("child", "variant", "output"):
            command += [f"--{option.replace('_', '-')}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{variant.name}: {what} ended with code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def size_bytes(folder: Path) -> int:
    """Of the weights: safetensors, or the graph and its data."""
    kinds = ("*.safetensors", "*.onnx", "*.onnx.data", "*.onnx_data")
    return sum(file.stat().st_size for kind in kinds for file in folder.glob(kind))


def closeness(args: argparse.Namespace, variants: Sequence[Variant]) -> dict[str, tuple[float, float]]:
    """Mean KL and top-1 agreement by folder, from one `fidelity` of all variants that transformers or GenAI run."""
    folders = list(dict.fromkeys(variant.folder for variant in variants if variant.folder and variant.engine != "vllm"))
    if not folders:
        return {}
    output = Path(args.folder) / "fidelity"
    candidates = ",".join(str(Path(args.folder) / folder) for folder in folders)
    words = ["fidelity", "--reference", args.model, "--candidate", candidates, "--text", args.text]
    words += ["--text-samples", str(args.fidelity_samples), "--output-dir", str(output)]
    subprocess.run([sys.executable, "-m", "distill_eval.cli", *words], check=True, stdout=sys.stderr)
    told = json.loads((output / "fidelity.json").read_text(encoding="utf-8"))["candidates"]
    return {
        folder: (one["tokens"]["kl"]["mean"]["value"], one["tokens"]["top1_agreement"]["value"])
        for folder, one in zip(folders, told, strict=True)
    }


def cell(ratio: Sequence[float] | None) -> str:
    """A speedup with each round's; in bold where it is none."""
    if not ratio:
        return "-"
    middle = statistics.median(ratio)
    text = f"{middle:.2f}x ({', '.join(f'{one:.2f}' for one in ratio)})"
    return f"**{text}**" if middle < 1 else text


def table(
    args: argparse.Namespace, variants: Sequence[Variant], rounds: Sequence[dict[str, dict[str, Any]]]
) -> list[str]:
    """One row per variant."""
    close = closeness(args, variants)
    whole = size_bytes(where(args, next(variant for variant in variants if variant.name == BASELINE)))
    heads = ["variant", "MB", "of bf16", "made in s", "KL", "top-1", "decode tok/s", "to bf16", "prefill tok/s"]
    heads += ["to bf16", "served tok/s", "to vLLM bf16"]
    lines = [f"| {' | '.join(heads)} |", f"|---{'|--:' * (len(heads) - 1)}|"]
    for variant in variants:
        folder = where(args, variant)
        size = size_bytes(folder) if variant.folder or variant.dtype != "float32" else 2 * whole
        kl = close.get(variant.folder)
        made = Path(args.folder) / f"{variant.folder}.made.json"
        seconds = f"{json.loads(made.read_text())['seconds']:.0f}" if variant.folder and made.is_file() else "-"
        cells = [variant.name, f"{size / 1e6:.1f}", f"{size / whole:.2f}", seconds]
        cells += ["-", "-"] if kl is None else [f"{kl[0]:.4f}", f"{kl[1]:.1%}"]
        for measure, base in (("decode", BASELINE), ("prefill", BASELINE), ("served", SERVED_BASELINE)):
            both = [(found[variant.name].get(measure), found.get(base, {}).get(measure)) for found in rounds]
            known = [(one, other) for one, other in both if one and other]
            cells.append(f"{statistics.median(one for one, _ in known):.0f}" if known else "-")
            cells.append(cell([one / other for one, other in known]))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def parse() -> argparse.Namespace:
    """The command line; --child and --variant are for the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True, help="for calibration, parity and fidelity")
    parser.add_argument("--folder", required=True, help="of the variants; what is there is not made again")
    parser.add_argument("--engines", default="hf,onnx", help="hf, onnx and vllm")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--decode-tokens", type=int, default=64)
    parser.add_argument("--prefill-tokens", type=int, default=512)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--fidelity-samples", type=int, default=16)
    parser.add_argument("--calibration-samples", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=40, help="of AutoRound")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", choices=CHILDREN)
    parser.add_argument("--variant")
    return parser.parse_args()


def main() -> None:
    """Make what is missing, measure everything, and print it as a table."""
    args = parse()
    if args.child:
        variant = next(variant for variant in VARIANTS if variant.name == args.variant)
        print(json.dumps(CHILDREN[args.child](args, variant)))
        return
    variants = [variant for variant in VARIANTS if variant.engine in args.engines.split(",")]
    for variant in variants:
        folder = Path(args.folder) / variant.folder
        if variant.make and not folder.exists():
            made = run_child(args, "make", variant)
            (Path(args.folder) / f"{variant.folder}.made.json").write_text(json.dumps(made), encoding="utf-8")
            print(f"{variant.name}: made in {made['seconds']:.0f} s", file=sys.stderr, flush=True)
    rounds = []
    for number in range(args.rounds):
        rounds.append({one.name: run_child(args, "serve" if one.engine == "vllm" else "time", one) for one in variants})
        print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
    text = "\n".join(table(args, variants, rounds))
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
