#!/bin/sh
# Make .venv and install Errata into it:
#  ./install.sh       what its users need
#  ./install.sh dev   with what its tests, linter and type checker need
#  ./install.sh docs  with what makes the site of its pages
# uv does it where it is installed, else pip. Both take the versions that constraints.txt pins.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3}
errata=".${1:+[$1]}"
cpu_builds=https://download.pytorch.org/whl/cpu

is_there() { command -v "$1" > /dev/null; }
answers() { "$python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=5)' "$1" 2> /dev/null; }

# PyPI's torch brings CUDA on Linux: gigabytes that a machine without a GPU has no use for.
by=pip
if [ "$(uname)" != Linux ] || is_there nvidia-smi; then
    cpu_builds=
    if is_there uv; then by=uv; fi
elif answers "$cpu_builds/torch/"; then
    if is_there uv; then by=uv; fi
else
    cpu_builds=  # pip is better at finding a CPU build elsewhere: it takes it from what its own settings name
fi

size="about 1 GB"
if [ -z "$cpu_builds" ] && [ "$(uname)" = Linux ]; then size="1 GB, or several where torch brings CUDA"; fi

# Python compiles what is imported, and keeps that. Where it may not keep it, all is compiled now: else every process
# would compile its part again.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
    compile=--compile uv_compile=--compile-bytecode
else
    compile=--no-compile uv_compile=
fi

echo "Installing Errata into .venv by $by: $size, most of it torch${1:+, and what '$1' adds}."
if [ "$by" = uv ]; then
    uv venv --quiet --seed --allow-existing --python "$python" .venv
    VIRTUAL_ENV=.venv uv pip install $uv_compile ${cpu_builds:+--torch-backend cpu} \
        --constraint constraints.txt --editable clients/python --editable "$errata"
else
    "$python" -m venv .venv
    .venv/bin/pip install --disable-pip-version-check $compile ${cpu_builds:+--extra-index-url "$cpu_builds"} \
        --constraint constraints.txt --editable clients/python --editable "$errata"
fi
