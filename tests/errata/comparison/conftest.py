"""A bench on the demo model that is cheap: two methods, three steps, second moments of a few key vectors."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from errata_cli.main import main

TINY = {
    "memit": {"layers": [0], "moment_weight": 300, "num_steps": 3, "clamp": 1, "num_samples": 4096},
    "ft": {"layers": [0], "norm_bound": 0.02, "num_steps": 3},
}

Bench = Callable[..., None]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder, whose second moments the first command makes."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def bench(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Types `errata bench` with these arguments; the results are in `tmp_path / "out"`."""

    def typed(*arguments: str, **changes: object) -> None:
        methods = {
            method: {"hyperparameters": {**values, **(changes if method == "ft" else {})}}
            for method, values in TINY.items()
        }
        file = tmp_path / "hyperparameters.json"
        file.write_text(json.dumps({"methods": methods}))
        shared = ["--home", str(home), "--hyperparameters", str(file), "--out", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["errata", "bench", *arguments, *shared])
        main()

    return typed
