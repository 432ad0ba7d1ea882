"""A streaming OpenAI-compatible server in its own process, which writes chunks at known times and keeps when it did.

    python streaming_server.py --ttft-ms 20 --itl-ms 5

prints its port, and answers until it is ended. Chunk k of an answer is due ttft + k * itl after the request arrived, so
that a late chunk makes no later one late. `GET /truth` tells what was done since it was last asked: for each request
when it was received and when each chunk was written, by `perf_counter`, which all processes of a Linux machine share.

The first word of a prompt names a fault, and a number behind it after how many chunks it comes: see `Answering`.
"""

import argparse
import asyncio
import heapq
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

clock = time.perf_counter
OWN_LENGTH = 5
"""Tokens of an answer that may end by itself."""
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
AT_ONCE = 8
"""Writes before the loop looks for new requests again, which would be received late otherwise."""
ABORT, EXIT = "abort", "exit"


def framed(data):
    """A piece of a body in chunked transfer encoding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(choice=None, **more):
    choices = (
        [] if choice is None else [{"index": 0, "logprobs": None, "finish_reason": None, "stop_reason": None, **choice}]
    )
    body = {
        "id": "cmpl-0123456789abcdef0123456789abcdef",
        "created": 1_790_000_000,
        "model": "tiny",
        "choices": choices,
    }
    return b"data: " + json.dumps({"object": "text_completion", "usage": None, **body, **more}).encode() + b"\n\n"


class Write:
    """Something to send at a time after the request; `counts` if it completes a chunk with text."""

    __slots__ = ("at", "counts", "data")

    def __init__(self, at, data, counts=0):
        self.at, self.data, self.counts = at, data, counts


class Answering:
    """What is written for a prompt: its first word is the fault, the rest its argument."""

    def __init__(self, ttft_s, itl_s):
        self.ttft_s, self.itl_s = ttft_s, itl_s
        self.num_seen = {}
        self.known = {}

    def refusal(self, prompt):
        """Status, headers and message, or `None`: an answer is streamed."""
        word, _, rest = prompt.partition(" ")
        if word == "busy":  # so many times
            self.num_seen[prompt] = self.num_seen.get(prompt, 0) + 1
            if self.num_seen[prompt] <= int(rest.split()[0]):
                return 503, "Retry-After: 0\r\n", "busy"
        if word in ("400", "429", "503"):
            return int(word), "", f"refused with {word}\nand more"
        return None

    def writes(self, prompt, body, chat):
        key = (
            prompt.split(" seq ")[0],
            body["max_tokens" if not chat else "max_completion_tokens"],
            body.get("ignore_eos"),
        )
        if (*key, chat) not in self.known:
            self.known[*key, chat] = self._writes(*key, chat)
        return self.known[*key, chat]

    def _writes(self, prompt, num_tokens, ignore_eos, chat):
        word, _, rest = prompt.partition(" ")
        reason = "length" if ignore_eos else "stop"
        num_tokens = num_tokens if ignore_eos else min(num_tokens, OWN_LENGTH)
        num_chunks = num_tokens // 2 if word == "pair" else num_tokens
        text = {"delta": {"content": " tok"}} if chat else {"text": " tok" * (2 if word == "pair" else 1)}
        chunks = [event(text)] * (num_chunks - 1) + [event({**text, "finish_reason": reason})]
        at = [self.ttft_s + place * self.itl_s for place in range(num_chunks)]
        writes = [Write(when, framed(data), 1) for when, data in zip(at, chunks, strict=True)]
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": num_tokens}
        last = b"" if word == "nousage" else framed(event(usage=usage))
        end = Write(at[-1], last + framed(b"data: [DONE]\n\n") + framed(b""))
        after = int(rest.split()[0]) if word in ("drop", "die", "malformed", "error", "early", "hang") else 0
        fault_at = at[min(after, num_chunks - 1)]
        if word == "together":
            pairs = [Write(b.at, a.data + b.data, 2) for a, b in zip(writes[::2], writes[1::2], strict=True)]
            return [*pairs, end]
        if word == "split":
            halves = [
                (Write(w.at - self.itl_s / 2, framed(c[:40])), Write(w.at, framed(c[40:]), 1))
                for w, c in zip(writes, chunks, strict=True)
            ]
            return [*(half for both in halves for half in both), end]
        if word == "empty":
            return [Write(self.ttft_s, framed(b"data: [DONE]\n\n") + framed(b""))]
        if word == "opening":  # a chat's first chunk before anything is computed
            return [Write(0.0, framed(event({"delta": {"role": "assistant", "content": ""}}))), *writes, end]
        faults = {
            "drop": ABORT,
            "die": EXIT,
            "malformed": framed(b'data: {"choices": [{"te\n\n') + framed(b"data: [DONE]\n\n") + framed(b""),
            "error": framed(b'data: {"error": {"message": "out of blocks", "code": 500}}\n\n') + framed(b""),
            "early": framed(b""),
            "hang": b"",
        }
        return [*writes[:after], Write(fault_at, faults[word])] if word in faults else [*writes, end]


class Server:
    """Streams that are due, soonest first, and what was done."""

    def __init__(self, answering):
        self.answering, self.loop = answering, asyncio.get_running_loop()
        self.due, self.number, self.timer, self.timer_at = [], 0, None, None
        self.done = []

    def start(self, transport, prompt, body, chat, received):
        record = {"prompt": prompt, "received_s": received, "chunk_s": [], "body": body}
        self.done.append(record)
        transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.push(transport, iter(self.answering.writes(prompt, body, chat)), record)
        self.arm()

    def push(self, transport, writes, record):
        write = next(writes, None)
        if write is not None:
            self.number += 1
            heapq.heappush(self.due, (record["received_s"] + write.at, self.number, transport, write, writes, record))

    def arm(self):
        if self.due and (self.timer is None or self.due[0][0] < self.timer_at):
            if self.timer is not None:
                self.timer.cancel()
            self.timer_at = self.due[0][0]
            self.timer = self.loop.call_later(max(0.0, self.timer_at - clock()), self.pump)

    def pump(self):
        self.timer = None
        now, left = clock(), AT_ONCE
        while self.due and self.due[0][0] <= now and (left := left - 1) >= 0:
            _, _, transport, write, writes, record = heapq.heappop(self.due)
            if transport.is_closing():
                continue
            if write.data == EXIT:
                os._exit(1)
            elif write.data == ABORT:
                transport.abort()
            else:
                if write.counts:
                    record["chunk_s"] += [clock()] * write.counts
                transport.write(write.data)
                self.push(transport, writes, record)
        self.arm()


class Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server, self.buffer = server, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        received = clock()
        self.buffer += data
        head, blank, rest = self.buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        found = LENGTH.search(head)
        length = int(found[1]) if found else 0
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        # Answered in the loop's next turn: requests that came together are all received before one is looked at.
        path = head.split(b" ", 2)[1].decode()
        self.server.loop.call_soon(self.answer, path, rest[:length], received)

    def answer(self, path, content, received):
        if path == "/truth/so-far":
            return self.send(200, self.server.done)
        if path == "/truth":
            done, self.server.done = self.server.done, []
            return self.send(200, done)
        if path == "/v1/models":
            return self.send(200, {"object": "list", "data": [{"id": "tiny", "max_model_len": 4096}]})
        if not path.endswith("completions"):
            return self.send(200 if path == "/health" else 404, {})
        body, chat = json.loads(content), path.startswith("/v1/chat")
        prompt = body.pop("messages")[-1]["content"] if chat else body.pop("prompt")
        if prompt.startswith("stall "):
            time.sleep(float(prompt.split()[1]))  # the whole server
        refusal = self.server.answering.refusal(prompt)
        if refusal is not None:
            status, headers, message = refusal
            return self.send(status, {"error": {"message": message}}, headers)
        return self.server.start(self.transport, prompt, body, chat, received)

    def send(self, status, body, headers=""):
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
        self.transport.write(head.encode() + data)


async def main(args):
    server = Server(Answering(args.ttft_ms / 1e3, args.itl_ms / 1e3))
    listening = await server.loop.create_server(lambda: Connection(server), "127.0.0.1", args.port, backlog=4096)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


class Running:
    """A server that was started: its address, its process, and what it did."""

    def __init__(self, process, port):
        self.process, self.address = process, f"http://127.0.0.1:{port}"

    def truth(self, *, so_far=False):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.address}/truth{'/so-far' * so_far}", timeout=30) as response:
            return json.load(response)


@contextmanager
def streaming(*, ttft_ms=20.0, itl_ms=5.0):
    """A running server of its own process."""
    command = [sys.executable, __file__, "--ttft-ms", str(ttft_ms), "--itl-ms", str(itl_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Running(process, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttft-ms", type=float, default=20.0)
    parser.add_argument("--itl-ms", type=float, default=5.0)
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args()))
