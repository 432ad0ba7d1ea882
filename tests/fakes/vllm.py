"""Programs that stand in vLLM's place: a server that answers as vLLM does, and how it is put on the path."""

METRICS = (
    'vllm:cache_config_info{block_size="128",enable_prefix_caching="True",engine="0",kv_cache_size_tokens="46592",'
    'num_gpu_blocks="364"} 1.0'
)
HEALTHY = f"""\
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

def option(name):
    return sys.argv[sys.argv.index(name) + 1]

class Handler(BaseHTTPRequestHandler):
    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        if self.path == "/die":
            print("ERROR 11-26 17:10:12 [core.py:1] MemoryError: no room left", flush=True)
            os._exit(9)
        said = {{"words": sys.argv[1:], "key": os.environ.get("VLLM_API_KEY"), "pid": os.getpid()}}
        answers = {{"/version": '{{"version": "0.32.0"}}', "/metrics": {METRICS!r}, "/said": json.dumps(said)}}
        self.answer(answers.get(self.path, ""))

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(json.dumps({{"choices": [{{"token_ids": [3, 4]}}]}}))

print("INFO 11-26 17:10:11 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: dtype=torch.bfloat16, x=1")
HTTPServer((option("--host"), int(option("--port"))), Handler).serve_forever()
"""


def install(folder, code):
    """A module of vLLM's name that is this code; returns what to put on the path."""
    package = folder / "path" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(code)
    (folder / "path" / "vllm" / "__init__.py").write_text("")
    return folder / "path"
