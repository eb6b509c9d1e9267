"""A model that cannot be edited is refused and told what to do before PyTorch is imported or a process starts."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SLOW = {"torch", "transformers"}
STARTS = {"errata_cli.supervisor", "errata_cli.base_model"}  # what starts processes, and what loads a model


def said_of(model: str, command: str = "up", *more: str) -> str:
    """Return what a command says of a model as it ends with 1, having imported nothing that is slow."""
    code = "import atexit, sys; from errata_cli.main import main; atexit.register(lambda: print(*sys.modules)); main()"
    typed = [sys.executable, "-c", code, command, *more, "--model", model]
    ran = subprocess.run(typed, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert (SLOW | STARTS).isdisjoint(ran.stdout.splitlines()[-1].split())
    assert ran.stderr.startswith("errata: ") and ran.stderr.count("\n") == 1
    return ran.stderr


def with_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return change


def without(name: str, instead: str | None = None) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        if instead:
            (folder / instead).touch()

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shutil.rmtree, ["there is no folder", "or a model of the hub"]),
        (without("config.json"), ["has no config.json", "name the folder of a whole checkpoint"]),
        (without("config.json", "model.Q4_1.gguf"), ["has no config.json, but model.Q4_1.gguf", "docs/models.md"]),
        (
            without("model.safetensors", "model.Q4_1.gguf"),
            ["no .safetensors file", "as docs/models.md shows"],
        ),
        (without("model.safetensors", "pytorch_model.bin"), ["no .safetensors file", "save_pretrained it again"]),
        (without("tokenizer.json", "vocab.txt"), ["no fast tokenizer", "AutoTokenizer.from_pretrained(folder)"]),
        (with_config(model_type="bloom"), ["'bloom' cannot be edited; there are: falcon, ", "docs/models.md"]),
        (with_config(model_type="mixtral", num_local_experts=8), ["a mixture of experts", "docs/models.md"]),
        (
            with_config(quantization_config={"quant_method": "awq"}),
            ["quantised (awq)", "use the checkpoint that"],
        ),
        (with_config(model_type="own", auto_map={"AutoConfig": "own.Config"}), ["needs code of its own"]),
    ],
)
def test_what_cannot_be_edited_is_refused_at_once(
    checkpoint: Path, change: Callable[[Path], None], words: list[str]
) -> None:
    change(checkpoint)
    said = said_of(str(checkpoint))
    for part in words:
        assert part in said


@pytest.mark.parametrize(
    "command",
    [
        *(["service"], ["worker"], ["statistics"], ["train-mend"], ["tune"], ["evaluate"], ["bench", "counterfact"]),
        ["trace", "--out", "nowhere"],
    ],
)
def test_every_command_that_loads_a_model_says_so(tmp_path: Path, command: list[str]) -> None:
    assert "there is no folder" in said_of(str(tmp_path / "none"), *command)
