"""An OpenAI-compatible server on loopback that answers every prompt by rule, and fails as it is told."""

import json
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler

from fakes.loopback import serving


class FakeServer:
    """What it is told, and what it saw.

    `trouble` maps a prompt to what happens to its requests, one after the other; the last of a list that ends with
    `"..."` goes on for ever. An int is a status; the other names are those of `Handler._fail`.
    """

    def __init__(
        self, *, models=({"id": "tiny", "root": "org/tiny"},), trouble=None, key=None, hold_s=0.0, finish=None
    ):
        self.models, self.key, self.hold_s = list(models), key, hold_s
        self.trouble = {prompt: list(what) for prompt, what in (trouble or {}).items()}
        self.finish = finish or {}
        self.requests, self.headers = defaultdict(list), []
        self.most_at_once, self._at_once, self._lock = 0, 0, threading.Lock()
        self.address = None

    def next_trouble(self, prompt):
        with self._lock:
            left = self.trouble.get(prompt, [])
            if not left:
                return None
            return left[0] if left[1:] == ["..."] else left.pop(0)

    def count(self, change):
        with self._lock:
            self._at_once += change
            self.most_at_once = max(self.most_at_once, self._at_once)


def serve(**options):
    """A running `FakeServer`; `address` ends in /v1."""
    return serving(Handler, FakeServer(**options), "/v1")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake = None

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path != "/v1/models":
            return self._send(404, {"error": {"message": "no such page"}})
        if not self._may():
            return self._send(401, {"error": {"message": "wrong key"}})
        return self._send(200, {"object": "list", "data": self.fake.models})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        chat = self.path == "/v1/chat/completions"
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        self.fake.headers.append(dict(self.headers))
        self.fake.requests[prompt].append(body)
        self.fake.count(1)
        try:
            time.sleep(self.fake.hold_s)
            what = self.fake.next_trouble(prompt) if self._may() else 401
            self._fail(what) if what is not None else self._answer(chat, prompt, body)
        finally:
            self.fake.count(-1)

    def _may(self):
        return self.fake.key is None or self.headers.get("Authorization") == f"Bearer {self.fake.key}"

    def _answer(self, chat, prompt, body):
        text, reason = self.fake.finish.get(prompt, (f"re: {prompt} {body.get('seed', '')}".strip(), "stop"))
        choice = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(text or "")}
        self._send(200, {"choices": [choice | {"finish_reason": reason}], "usage": usage})

    def _fail(self, what):
        if what == "hang":
            time.sleep(0.6)
            self.close_connection = True
        elif what == "drop":
            self.close_connection = True
        elif what == "garbage":
            self._send(200, b'{"choices": [{"mess')
        elif what == "no choices":
            self._send(200, {"choices": []})
        elif what == "no template":
            self._send(400, {"error": {"message": "you must provide a chat template if the tokenizer has none"}})
        else:
            headers = {"Retry-After": "7"} if what == 429 else {}
            self._send(what, {"error": {"message": f"trouble {what}"}}, headers)

    def _send(self, status, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
