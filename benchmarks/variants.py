r"""What the variants of a model weigh and how fast they are, each on the engine that runs it, in one run.

    python benchmarks/variants.py --model HuggingFaceTB/SmolLM2-135M-Instruct --text local/lm_corpus \
        --fidelity-split validation --folder variants --output variants.md

Variants that are not in --folder yet are made first, one process each: `quantize` (W8A8, W8A16, W4A16 by rounding and
by AutoRound, bitsandbytes int8 and nf4) and `export` (ONNX fp32, int8, int8 with 8-bit
activations, int4 by rounding and by k-quant). Every speed is
measured in a process of its own; the processes take turns (A B C, A B C ...), and speedups are medians of the rounds'
ratios to the better of transformers in float32 and in bfloat16 in the same round.

decode:  tokens per second of one stream, greedy, behind a prompt of --prompt-tokens, the first token left out.
prefill: tokens per second of reading --prefill-tokens at once. transformers projects the last position onto the
         vocabulary, an exported graph all of them.
served:  output tokens per second of --concurrency streams on a vLLM server (--engines vllm), ratio to vLLM bfloat16.
KL, top-1: from one `fidelity` of all variants against the model in bfloat16, on a split that did not calibrate.
memory:  how much `quantize` raised its process's peak while it quantized and wrote, over the model's bytes in bfloat16.

A variant that is slower than transformers is printed in bold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
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
    Variant(
        "ONNX int8, W8A8",
        "onnx",
        "onnx-int8-w8a8",
        make=("export", "--precision", "int8", "--int8-algorithm", "w8a8"),
    ),
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
BASELINES, SERVED_BASELINES = ("transformers fp32", "transformers bf16"), ("vLLM bf16",)


# ---- one process: make a variant, or time it


def child_make(args: argparse.Namespace, variant: Variant) -> dict[str, Any]:
    """Run the verb in this process; the seconds are those of the whole command, its check included."""
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
    return {"seconds": time.perf_counter() - began}


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
        if value is not None and option not in ("child", "variant", "output", "only"):
            command += [f"--{option.replace('_', '-')}", str(value)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{variant.name}: {what} ended with code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def closeness(args: argparse.Namespace, variants: Sequence[Variant]) -> dict[str, tuple[float, float]]:
    """Mean KL and top-1 agreement by folder, from one `fidelity` of all variants that transformers or GenAI run."""
    folders = list(dict.fromkeys(variant.folder for variant in variants if variant.folder and variant.engine != "vllm"))
    if not folders:
        return {}
    output = Path(args.folder) / "fidelity"
    candidates = ",".join(str(Path(args.folder) / folder) for folder in folders)
    words = ["fidelity", "--reference", args.model, "--candidate", candidates, "--text", args.text]
    words += ["--text-split", args.fidelity_split, "--text-samples", str(args.fidelity_samples)]
    words += ["--dtype", "bfloat16", "--output-dir", str(output)]
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


def ratios(
    name: str, measure: str, bases: Sequence[str], rounds: Sequence[dict[str, dict[str, Any]]]
) -> tuple[list[float], list[float]]:
    """A variant's rates, and their ratios to the best of the bases in the same round."""
    rates, found = [], []
    for one in rounds:
        rate = one[name].get(measure)
        base = max((one[other][measure] for other in bases if other in one and measure in one[other]), default=None)
        if rate is not None:
            rates.append(rate)
            found += [rate / base] if base is not None else []
    return rates, found


def made_of(args: argparse.Namespace, variant: Variant) -> dict[str, Any]:
    """What was noted when the variant was made, and its quant.json."""
    notes = Path(args.folder) / f"{variant.folder}.made.json"
    quant = Path(args.folder) / variant.folder / "quant.json"
    found: dict[str, Any] = json.loads(notes.read_text()) if variant.make and notes.is_file() else {}
    return found | ({"peak_bytes": json.loads(quant.read_text())["peak_bytes"]} if quant.is_file() else {})


def bf16_bytes(args: argparse.Namespace) -> int:
    """Two for each parameter of the model."""
    from distill_eval.distill import models
    from distill_eval.schema.model import ModelRef

    return 2 * models.num_parameters(models.locate(ModelRef.parse(args.model), role="model").config)


def table(
    args: argparse.Namespace, variants: Sequence[Variant], rounds: Sequence[dict[str, dict[str, Any]]]
) -> list[str]:
    """One row per variant."""
    from distill_eval.engine.packing import size_bytes

    close, whole = closeness(args, variants), bf16_bytes(args)
    heads = ["variant", "MB", "of bf16", "made in s", "memory", "KL", "top-1", "decode tok/s", "to transformers"]
    heads += ["prefill tok/s", "to transformers", "served tok/s", "to vLLM bf16"]
    lines = [f"| {' | '.join(heads)} |", f"|---{'|--:' * (len(heads) - 1)}|"]
    for variant in variants:
        width = {"float32": 2, "bfloat16": 1}.get(variant.dtype, 1)
        size = size_bytes(Path(args.folder) / variant.folder) if variant.folder else width * whole
        made, kl = made_of(args, variant), close.get(variant.folder)
        cells = [variant.name, f"{size / 1e6:.1f}", f"{size / whole:.2f}"]
        cells += [f"{made['seconds']:.0f}" if "seconds" in made else "-"]
        cells += [f"{made['peak_bytes'] / whole:.2f}x" if "peak_bytes" in made else "-"]
        cells += ["-", "-"] if kl is None else [f"{kl[0]:.4f}", f"{kl[1]:.1%}"]
        for measure, bases in (("decode", BASELINES), ("prefill", BASELINES), ("served", SERVED_BASELINES)):
            rates, found = ratios(variant.name, measure, bases, rounds)
            cells += [f"{statistics.median(rates):.0f}" if rates else "-", cell(found)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def parse() -> argparse.Namespace:
    """The command line; --child and --variant are for the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True, help="for calibration, parity and fidelity")
    parser.add_argument("--fidelity-split", required=True, help="of --text; calibration takes `train`")
    parser.add_argument("--folder", required=True, help="of the variants; what is there is not made again")
    parser.add_argument("--engines", default="hf,onnx", help="hf, onnx and vllm")
    parser.add_argument("--only", action="append", help="a variant's name, may be given again; its baselines are kept")
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
    engines = args.engines.split(",")
    if not set(engines) <= {variant.engine for variant in VARIANTS}:
        sys.exit(f"--engines {args.engines}: expected some of hf, onnx and vllm")
    variants = [variant for variant in VARIANTS if variant.engine in engines]
    unknown = set(args.only or ()) - {variant.name for variant in VARIANTS}
    if unknown:
        sys.exit(f"--only {unknown.pop()}: expected one of {', '.join(variant.name for variant in VARIANTS)}")
    if args.only:
        kept = {*args.only, *BASELINES, *SERVED_BASELINES}
        variants = [variant for variant in variants if variant.name in kept]
    needed = {variant.folder for variant in variants}
    Path(args.folder).mkdir(parents=True, exist_ok=True)
    for variant in VARIANTS:
        folder = Path(args.folder) / variant.folder
        if variant.make and variant.folder in needed and not folder.exists():
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
