"""What our load client costs and how true it is, against `vllm bench serve`, on the same server in interleaved rounds.

    python benchmarks/bench_client.py --tokenizer HuggingFaceTB/SmolLM2-135M-Instruct --rounds 3 --output client.md
    python benchmarks/bench_client.py --endpoint http://127.0.0.1:8000 --model M --tokenizer M --concurrency 4

The first form measures on the fake server of tests/fakes, which keeps when it wrote each chunk: the error of TTFT, ITL,
TPOT and E2EL is that of the client's figure against the server's (mean, median and 99th percentile, the largest
counts), the TTFT error that of each request. A request counts from its receipt there, so the way there is in the
error too. CPU is that of the client's process, user and system, from the first request to the last answer; ours is also
given with all that is before and after the window, reading the streams above all. Seconds to the first request run from
the command's start; ours is a process of this file that does nothing else.

The second form has no truth: medians and throughputs of both on a real server, which should be started without a prefix
cache. With --at-once both clients load it together, each with so many streams, and what counts is the time in which
both do: a server whose speed drifts from minute to minute is then the same for both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FAKE = ROOT / "tests" / "fakes" / "streaming_server.py"
TTFT_MS = 20.0
WORDS = "the a of small large model teacher student river cloud stone answers learns keeps loses quickly"


class Setting(NamedTuple):
    """A load on the fake server."""

    streams: int
    itl_ms: float
    requests: int
    tokens: int


SETTINGS = (Setting(1, 5.0, 20, 50), Setting(64, 12.8, 256, 100), Setting(64, 5.0, 256, 100))
"""One stream; 64 at 5,000 chunks/s; 64 as fast as one process of Python serves them, about 12,000 chunks/s."""


class Requests(NamedTuple):
    """What a client says of its requests, in their order: times by `perf_counter`, which the server's truth has too."""

    sent_s: list[float]
    chunk_s: list[list[float]]
    cpu_s: float
    cpu_after_s: float
    """With what comes after the window."""
    wall_s: float

    @property
    def num_chunks(self) -> int:
        """Of all requests."""
        return sum(map(len, self.chunk_s))


def ours(task: dict[str, Any], folder: Path) -> Requests:
    """Run our client in a process of its own."""
    result = folder / "ours.json"
    words = [sys.executable, __file__, "--child", json.dumps({**task, "result": str(result)})]
    subprocess.run(words, check=True, cwd=ROOT)
    return Requests(**json.loads(result.read_text()))


def child(task: dict[str, Any]) -> None:
    """Measure once with our client."""
    from distill_eval.bench.client import HttpTarget
    from distill_eval.bench.target import Rules
    from distill_eval.schema.timing import Load, Prompt

    lines = [json.loads(line) for line in Path(task["prompts"]).read_text().splitlines()]
    prompts = [Prompt(text=line["prompt"], num_tokens=1, max_tokens=task["tokens"]) for line in lines]
    rate, streams = task["rate"], task["streams"]
    opened = rate is not None
    load = (
        Load(kind="open", request_rate=rate, arrival="constant") if opened else Load(kind="closed", concurrency=streams)
    )
    target, before = HttpTarget(task["address"], task["model"]), time.process_time()
    found = target.measure(load, prompts, Rules(), window=0, zero=0.0, seed=0)
    after = time.process_time() - before
    failed = [timing.reason for timing in found.timings if timing.status != "completed"]
    if failed or found.client_cpu is None:
        sys.exit(f"{len(failed)} requests failed, the first: {failed[:1]}")
    wall = found.ended_s - found.began_s
    result = Requests(
        [timing.sent_s for timing in found.timings],
        [list(timing.chunk_s) for timing in found.timings],
        found.client_cpu * wall,
        after,
        wall,
    )
    Path(task["result"]).write_text(json.dumps(result._asdict()))


def theirs(task: dict[str, Any], folder: Path) -> Requests:
    """Run `vllm bench serve` in a process of its own."""
    cpu = folder / "cpu.json"
    words = [sys.executable, str(ROOT / "benchmarks" / "vllm_bench_serve.py"), str(cpu), "--backend", "openai"]
    words += ["--base-url", task["address"], "--endpoint", "/v1/completions", "--model", task["model"]]
    words += ["--tokenizer", task["tokenizer"], "--dataset-name", "custom", "--dataset-path", task["prompts"]]
    words += ["--skip-chat-template", "--disable-shuffle", "--custom-output-len", str(task["tokens"]), "--ignore-eos"]
    words += ["--num-prompts", str(task["requests"]), "--temperature", "0", "--disable-tqdm", "--save-result"]
    words += ["--save-detailed", "--result-dir", str(folder), "--result-filename", "theirs.json"]
    if task["rate"] is None:
        words += ["--max-concurrency", str(task["streams"])]
    else:
        words += ["--request-rate", str(task["rate"]), "--burstiness", "inf"]
    with (folder / "theirs.log").open("w") as log:
        done = subprocess.run(words, check=False, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"vllm bench serve failed: {(folder / 'theirs.log').read_text()[-2000:]}")
    found = json.loads((folder / "theirs.json").read_text())
    first = [sent + ttft for sent, ttft in zip(found["start_times"], found["ttfts"], strict=True)]
    chunks = [np.cumsum([begin, *itls]).tolist() for begin, itls in zip(first, found["itls"], strict=True)]
    used = json.loads(cpu.read_text())
    return Requests(found["start_times"], chunks, used, used, found["duration"])


CLIENTS = {"distill-eval": ours, "vllm bench serve": theirs}


def in_turn(number: int) -> Sequence[tuple[str, Callable[[dict[str, Any], Path], Requests]]]:
    """The clients of a round, A B, then B A: a drift of the machine hits both alike."""
    return list(CLIENTS.items())[:: 1 if number % 2 == 0 else -1]


def write_prompts(path: Path, num: int, num_words: int, seed: int) -> None:
    """Made-up text in the form that vLLM's custom data set has."""
    rng = np.random.default_rng(seed)
    texts = [f"{' '.join(rng.choice(WORDS.split(), num_words))} seq {place}" for place in range(num)]
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))


def latencies(requests: Requests, tokens: int) -> dict[str, list[float]]:
    """In milliseconds, by vLLM's definitions."""
    rows = list(zip(requests.sent_s, requests.chunk_s, strict=True))
    found = {
        "TTFT": [stamps[0] - sent for sent, stamps in rows],
        "ITL": [after - before for _, stamps in rows for before, after in pairwise(stamps)],
        "TPOT": [(stamps[-1] - stamps[0]) / (tokens - 1) for _, stamps in rows],
        "E2EL": [stamps[-1] - sent for sent, stamps in rows],
    }
    return {name: [1e3 * value for value in values] for name, values in found.items()}


def summary(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, median and 99th percentile."""
    return float(np.mean(values)), float(np.median(values)), float(np.percentile(values, 99))


class Truth:
    """The fake server, and what it says that it did."""

    def __init__(self, itl_ms: float) -> None:
        words = [sys.executable, str(FAKE), "--ttft-ms", str(TTFT_MS), "--itl-ms", str(itl_ms)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self.address = f"http://127.0.0.1:{(self._process.stdout.readline() if self._process.stdout else '').strip()}"

    def requests(self) -> list[dict[str, Any]]:
        """Those since it was last asked, in the order of the prompts."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.address}/truth", timeout=60) as response:
            return sorted(json.load(response), key=lambda request: int(request["prompt"].rsplit(" ", 1)[1]))

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.wait()


def against_truth(setting: Setting, args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Figures of each client, by round."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
    server = Truth(setting.itl_ms)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_prompts(folder / "prompts.jsonl", setting.requests, 12, seed=0)
            task = {
                "address": server.address, "model": "tiny", "tokenizer": args.tokenizer, "rate": None,
                "prompts": str(folder / "prompts.jsonl"), **setting._asdict(),
            }  # fmt: skip
            for number in range(args.rounds):
                for client, run in in_turn(number):
                    server.requests()
                    began = time.perf_counter()
                    found = run(task, folder)
                    rows[client].append(figures(found, server.requests(), began, setting))
                    print(setting, client, json.dumps(rows[client][-1]), flush=True)
    finally:
        server.end()
    return rows


def figures(found: Requests, there: list[dict[str, Any]], began: float, setting: Setting) -> dict[str, float]:
    """What one run cost and how far it was from the truth."""
    received = [request["received_s"] for request in there]
    truth = Requests(received, [request["chunk_s"] for request in there], 0.0, 0.0, 0.0)
    seen, real = latencies(found, setting.tokens), latencies(truth, setting.tokens)
    errors = {
        f"{name} error": max(abs(a - b) for a, b in zip(summary(seen[name]), summary(real[name]), strict=True))
        for name in seen
    }
    each = [abs(a - b) for a, b in zip(seen["TTFT"], real["TTFT"], strict=True)]
    return {
        "us/chunk": 1e6 * found.cpu_s / found.num_chunks,
        "us/chunk with after": 1e6 * found.cpu_after_s / found.num_chunks,
        "s to first request": min(received) - began,
        "chunks/s": found.num_chunks / found.wall_s,
        **errors,
        "TTFT error p99": float(np.percentile(each, 99)),
    }


def asked(args: argparse.Namespace, folder: Path, num: int, seed: int) -> dict[str, Any]:
    """So many requests to a server that runs, and their prompts, written to the folder."""
    prompts = folder / "prompts.jsonl"
    write_prompts(prompts, num, args.words, seed)
    return {
        "address": args.endpoint, "model": args.model, "tokenizer": args.tokenizer, "rate": args.request_rate,
        "prompts": str(prompts), "requests": num, "tokens": args.tokens, "streams": args.concurrency,
    }  # fmt: skip


def side_by_side(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Medians and throughputs of each client on a server whose truth nobody knows, by round."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = asked(args, folder, args.requests, seed=0)
        ours(task, folder)  # the first requests of a server are slow
        for number in range(args.rounds):
            for client, run in in_turn(number):
                found = run(task, folder)
                medians = {f"{name} p50": summary(values)[1] for name, values in latencies(found, args.tokens).items()}
                throughputs = {"requests/s": args.requests / found.wall_s}
                throughputs["tokens/s"] = args.requests * args.tokens / found.wall_s
                rows[client].append({**medians, **throughputs})
                print(client, json.dumps(rows[client][-1]), flush=True)
    return rows


COVER = 2
"""--at-once: our requests for each of theirs, since ours begin before and end after."""


def at_once(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """The same, with both clients at work in the time that counts."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor() as pool:
        tasks, folders = {}, {client: Path(name) / str(place) for place, client in enumerate(CLIENTS)}
        for place, (client, folder) in enumerate(folders.items()):
            folder.mkdir()
            num = args.requests if place else args.requests * COVER
            tasks[client] = asked(args, folder, num, seed=place)
        for _ in range(args.rounds):
            jobs = {client: pool.submit(run, tasks[client], folders[client]) for client, run in CLIENTS.items()}
            found = {client: job.result() for client, job in jobs.items()}
            begin = max(min(one.sent_s) for one in found.values())
            end = min(max(stamps[-1] for stamps in one.chunk_s) for one in found.values())
            for client, one in found.items():
                rows[client].append(within(one, begin, end, args.tokens))
                print(client, json.dumps(rows[client][-1]), flush=True)
    return rows


def within(found: Requests, begin: float, end: float, tokens: int) -> dict[str, float]:
    """Medians of the requests that lie in this time, and the tokens per second of all."""
    kept = [pair for pair in zip(found.sent_s, found.chunk_s, strict=True) if pair[0] >= begin and pair[1][-1] <= end]
    inner = found._replace(sent_s=[sent for sent, _ in kept], chunk_s=[stamps for _, stamps in kept])
    medians = {f"{name} p50": summary(values)[1] for name, values in latencies(inner, tokens).items()}
    chunks = sum(begin <= stamp <= end for stamps in found.chunk_s for stamp in stamps)
    return {**medians, "chunks/s": chunks / (end - begin), "requests": len(kept)}


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    """Medians over rounds, and the median of the rounds' ratios."""
    lines = ["| | distill-eval | vllm bench serve | ratio (each round) |", "|---|--:|--:|--:|"]
    mine, other = rows.values()
    for name in mine[0]:
        a, b = [row[name] for row in mine], [row[name] for row in other]
        ratios = [x / y for x, y in zip(a, b, strict=True)]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        medians = f"{statistics.median(a):.3f} | {statistics.median(b):.3f}"
        lines.append(f"| {name} | {medians} | {statistics.median(ratios):.3f} ({each}) |")
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", help="folder or Hub name; vLLM's tool counts with it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", default="0,1,2", help="which of the loads on the fake server")
    parser.add_argument("--endpoint", help="address of a real server instead of the fake one")
    parser.add_argument("--model", help="--endpoint: the model's name there")
    parser.add_argument("--concurrency", type=int, default=4, help="--endpoint: streams of a closed loop")
    parser.add_argument("--request-rate", type=float, help="--endpoint: an open loop at constant gaps instead")
    parser.add_argument("--requests", type=int, default=32, help="--endpoint: requests of each run")
    parser.add_argument("--words", type=int, default=60, help="--endpoint: of each prompt")
    parser.add_argument("--tokens", type=int, default=64, help="--endpoint: of each answer")
    parser.add_argument("--at-once", action="store_true", help="--endpoint: both clients together")
    parser.add_argument("--output", type=Path, help="append the tables to this file")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
        return
    if args.tokenizer is None or (args.endpoint and args.model is None):
        parser.error("--tokenizer is needed, and with --endpoint also --model")
    if args.endpoint:
        text = table(at_once(args) if args.at_once else side_by_side(args))
    else:
        chosen = [SETTINGS[int(place)] for place in args.settings.split(",")]
        text = "\n\n".join(f"{setting}\n\n{table(against_truth(setting, args))}" for setting in chosen)
    print(text)
    if args.output:
        with args.output.open("a") as file:
            file.write(f"`{' '.join(['python', *sys.argv])}`\n\n{text}\n\n")


if __name__ == "__main__":
    main()
