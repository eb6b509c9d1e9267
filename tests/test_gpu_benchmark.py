"""The benchmark of one GPU runs where torch, transformers, safetensors and numpy are, and nothing else of Errata's."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUN = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"fastapi", "pydantic", "pydantic_settings", "redis", "rq", "httpx", "uvicorn"}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
sys.path = [path for path in sys.path if not path.startswith(sys.argv[1]) or "site-packages" in path]
sys.path.insert(0, sys.argv.pop(1))
from benchmarks import gpu

gpu.main()
"""


def test_it_measures_and_writes_each_figure_without_what_the_service_needs(tmp_path: Path) -> None:
    arguments = ["--part", "decode", "--small", "--device", "cpu", "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-c", RUN, str(ROOT), *arguments], check=True, cwd=tmp_path, timeout=300)
    figures = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    steps = {figure["what"]: figure["step_ms"] for figure in figures if "step_ms" in figure}
    assert all(f"kernel by kernel, {rows} rows" in steps for rows in (1, 4, 16, 64))
    assert len((tmp_path / "figures.txt").read_text().splitlines()) == len(figures)
