"""The environment that has vLLM: too large, and too particular, for the one of these tests.

`make vllm` makes it. Without it, the tests that need it are skipped.
"""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]
PYTHON = Path(os.environ.get("ERRATA_TEST_VLLM_PYTHON") or HERE / ".venv-vllm" / "bin" / "python")
VARIABLES = {
    **os.environ,
    "PYTHONPATH": str(HERE / "engines" / "vllm"),  # this checkout's, whichever is installed there
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # several processes share few cores
    "HF_HUB_OFFLINE": "1",
    "TORCHDYNAMO_DISABLE": "1",  # else a first request for log probabilities has a C++ compiler run for minutes
}

needs_vllm = pytest.mark.skipif(
    not PYTHON.exists(), reason="there is no environment with vLLM (3.5 GB): `make vllm` makes it, in .venv-vllm"
)
