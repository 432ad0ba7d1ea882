"""A Hub on loopback: repositories, the check of a card, uploads of large files, and commits.

It answers what huggingface_hub's client asks it.
"""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler

from fakes.loopback import serving

TOKEN = "hf_test"


class FakeHub:
    """What it holds and what it was asked; `refuse` maps a path to the status that it answers."""

    def __init__(self, *, public=(), refuse=None, cards=None):
        self.private = dict.fromkeys(public, False)
        self.files = {name: {} for name in public}
        self.commits = []
        self.validated = []
        self.asked = []
        self.blobs = {}
        self.refuse = refuse or {}
        self.cards = cards or {}
        self.address = None


def serve(**options):
    """A running `FakeHub`."""
    return serving(Handler, FakeHub(**options))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake = None

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self._card()

    def do_GET(self):
        if "/resolve/" in self.path:
            return self._card()
        name = self.path.removeprefix("/api/models/").partition("/revision/")[0].partition("?")[0]
        self.fake.asked.append(self.path)
        if name not in self.fake.private:
            return self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        return self._send(200, {"id": name, "private": self.fake.private[name], "sha": "0" * 40, "siblings": []})

    def _card(self):
        name, _, _ = self.path.removeprefix("/").partition("/resolve/")
        self.fake.asked.append(self.path)
        text = self.fake.cards.get(name)
        if text is None or not self.path.endswith("/README.md"):
            return self._send(404, {}, {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{hashlib.sha1(text.encode()).hexdigest()}"', "X-Repo-Commit": "2" * 40}
        return self._send(200, text, headers)

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.fake.blobs[self.path.rpartition("/")[2]] = data
        self._send(200, {})

    def do_POST(self):
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.fake.asked.append(path)
        status = next((status for part, status in self.fake.refuse.items() if part in path), None)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid username or password."})
        if status is not None:
            return self._send(status, {"error": f"trouble {status}", "errors": [{"message": "refused"}]})
        if path == "/api/repos/create":
            return self._create(json.loads(data))
        if path == "/api/validate-yaml":
            self.fake.validated.append(json.loads(data)["content"])
            return self._send(200, {"errors": [], "warnings": []})
        if "/preupload/" in path:
            return self._modes(json.loads(data)["files"])
        if path.endswith("/info/lfs/objects/batch"):
            return self._batch(json.loads(data)["objects"])
        return self._commit(path.removeprefix("/api/models/").partition("/commit/")[0], data)

    def _create(self, body):
        name = f"{body['organization']}/{body['name']}"
        if name in self.fake.private:
            return self._send(409, {"error": "You already created this model repo", "url": self._url(name)})
        self.fake.private[name] = body.get("visibility") == "private"
        self.fake.files[name] = {}
        return self._send(200, {"url": self._url(name)})

    def _modes(self, files):
        modes = [
            {
                "path": one["path"],
                "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for one in files
        ]
        self._send(200, {"files": modes})

    def _batch(self, objects):
        answers = [
            {
                "oid": one["oid"],
                "size": one["size"],
                "actions": {"upload": {"href": f"{self.fake.address}/blob/{one['oid']}"}},
            }
            for one in objects
        ]
        self._send(200, {"transfer": "basic", "objects": answers})

    def _commit(self, name, data):
        lines = [json.loads(line) for line in data.splitlines()]
        self.fake.commits.append(lines[0]["value"]["summary"])
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                self.fake.files[name][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                blob = self.fake.blobs[value["oid"]]
                assert hashlib.sha256(blob).hexdigest() == value["oid"]
                self.fake.files[name][value["path"]] = blob
        oid = "1" * 40
        self._send(200, {"commitUrl": f"{self._url(name)}/commit/{oid}", "commitOid": oid, "hookOutput": ""})

    def _url(self, name):
        return f"{self.fake.address}/{name}"

    def _send(self, status, body, headers=None):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        content_type = "application/vnd.git-lfs+json" if "lfs" in self.path else "application/json"
        for name, value in {"Content-Length": str(len(data)), "Content-Type": content_type, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
