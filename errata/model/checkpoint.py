"""A checkpoint's folder: where it is, and whether it can be loaded at all, before anything of it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import CONFIG_MAPPING

from errata.errors import ModelError
from errata.model.shipped import shipped_checkpoint

# What a checkpoint is made of: no code, and no pickle, which can run code.
CHECKPOINT_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
CONFIG, INDEX = "config.json", "model.safetensors.index.json"


def checkpoint_folder(name: str) -> Path:
    """Return the local folder of a model, fetched from the hub if it is not one already.

    Raises:
        ModelError: it is not found, has code of its own, is quantised, or lacks some of its weights.
    """
    folder = fetched_folder(name, CHECKPOINT_FILES)
    config = _read_json(folder / CONFIG, name)
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(
            f"{name} needs code of its own (`auto_map` in {CONFIG}), and Errata runs none that comes with a model"
        )
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method", "some method") if isinstance(quantized, dict) else quantized
        raise ModelError(
            f"{name} is quantised ({method}), and an edit is an update of full weights: "
            "use the checkpoint that it was quantised from"
        )
    _require_all_weights(folder, name)
    return folder


def read_config(name: str) -> dict[str, Any]:
    """Return the config of a model, without anything else of it. Raises `ModelError` where there is none."""
    return _read_json(fetched_folder(name, [CONFIG]) / CONFIG, name)


def fetched_folder(name: str, files: list[str]) -> Path:
    """Return the local folder of a model, with `files` of it fetched from the hub if it is not one already.

    Raises `ModelError` where it is not found.
    """
    folder = shipped_checkpoint(name) or Path(name)
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(f"{name} is neither a local folder nor a model that the hub gives: {error}") from error


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint's weights, sorted by name."""
    return sorted(folder.glob("*.safetensors"))


def stored_tensors(files: Iterable[Path]) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor with its name."""
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is not iterable
                yield name, tensors.get_tensor(name)


def _require_all_weights(folder: Path, name: str) -> None:
    """Raise `ModelError` naming a file of weights that is missing or cut off."""
    files = weight_files(folder)
    if not files:
        raise ModelError(f"{name} has no .safetensors file; Errata reads no other weights (pickle can run code)")
    if (folder / INDEX).is_file():
        index = _read_json(folder / INDEX, name)
        named = index.get("weight_map")
        listed = {str(file) for file in named.values()} if isinstance(named, dict) else set()
        if missing := sorted(listed - {file.name for file in files}):
            raise ModelError(f"{name} lacks {', '.join(missing)}, which {INDEX} names")
    for file in files:
        try:
            with safe_open(file, framework="pt"):  # compares what its header says with its length
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{name}: {file.name} is damaged or cut off: {error}") from error


def _read_json(file: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{name}: {file.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{name}: {file.name} is no JSON object")
    return value
