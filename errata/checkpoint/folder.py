"""A checkpoint's folder: where it is, and whether it can be loaded at all, before anything of it is."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from errata.checkpoint.architectures import ARCHITECTURES, architecture_of
from errata.checkpoint.shipped import shipped_checkpoint
from errata.errors import ModelError

# What a checkpoint is made of: no code, and no pickle, which can run code.
CHECKPOINT_FILES = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
CONFIG, INDEX = "config.json", "model.safetensors.index.json"
CONVERT_GGUF = "convert it as docs/models.md shows, or take the checkpoint that it was made from"


def require_editable_model(name: str) -> None:
    """Raise `ModelError` at once where a model cannot be edited, as far as its config and its files tell.

    Of a model that the hub gives, the config alone is looked at, and fetched where it is not here yet.
    """
    if local := _local_folder(name):
        _require_config(local, name)
        _require_files(local, name)
        return
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    cached = None
    with suppress(HFValidationError):  # no name of a model, as `fetched_folder` says then
        cached = None if _is_path(name) else try_to_load_from_cache(name, CONFIG)
    _require_config(Path(cached).parent if isinstance(cached, str) else fetched_folder(name, [CONFIG]), name)


def checkpoint_folder(name: str) -> Path:
    """Return the local folder of a model, fetched from the hub if it is not one already.

    Raises:
        ModelError: it is not found, cannot be edited, has code of its own, is quantised, or lacks some of its weights
            or its tokenizer.
    """
    folder = fetched_folder(name, CHECKPOINT_FILES)
    _require_config(folder, name)
    _require_files(folder, name)
    return folder


def read_config(name: str) -> dict[str, Any]:
    """Return the config of a model, without anything else of it. Raises `ModelError` where there is none."""
    return _read_json(fetched_folder(name, [CONFIG]) / CONFIG, name)


def fetched_folder(name: str, files: list[str]) -> Path:
    """Return the local folder of a model, with `files` of it fetched from the hub if it is not one already.

    Raises `ModelError` where it is not found.
    """
    if local := _local_folder(name):
        return local
    if Path(name).is_file():
        advice = CONVERT_GGUF if name.endswith(".gguf") else "name the folder that it lies in"
        raise ModelError(
            f"{name} is a file, and a model is a folder with {CONFIG}, .safetensors and tokenizer: {advice}"
        )
    if _is_path(name):
        raise ModelError(
            f"there is no folder {name}; name one that holds {CONFIG}, .safetensors and tokenizer, or a model of the "
            "hub (such as HuggingFaceTB/SmolLM2-135M-Instruct)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=files))
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(f"{name} is neither a local folder nor a model that the hub gives: {error}") from error


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a checkpoint's weights, sorted by name."""
    return sorted(folder.glob("*.safetensors"))


def _local_folder(name: str) -> Path | None:
    folder = shipped_checkpoint(name) or Path(name)
    return folder if folder.is_dir() else None


def _is_path(name: str) -> bool:
    """Return True for what no model of the hub can be called: that is `model` or `owner/model`."""
    return name.startswith(("/", ".", "~")) or name.endswith("/") or name.count("/") > 1


def _require_config(folder: Path, name: str) -> None:
    """Raise `ModelError` if a model's config says that it cannot be edited."""
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{name} has no {CONFIG}{_instead(folder)}")
    config = _read_json(folder / CONFIG, name)
    if "auto_map" in config and config.get("model_type") not in ARCHITECTURES:
        raise ModelError(
            f"{name} needs code of its own (`auto_map` in {CONFIG}), and Errata runs none that comes with a model; "
            "docs/models.md lists the models that need none"
        )
    architecture_of(config)
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method", "some method") if isinstance(quantized, dict) else quantized
        raise ModelError(
            f"{name} is quantised ({method}), and an edit is an update of full weights: "
            "use the checkpoint that it was quantised from"
        )


def _require_files(folder: Path, name: str) -> None:
    """Raise `ModelError` naming what is missing or cut off of a checkpoint's weights and its tokenizer."""
    files = weight_files(folder)
    if not files:
        raise ModelError(
            f"{name} has no .safetensors file; Errata reads no other weights (pickle can run code){_instead(folder)}"
        )
    if (folder / INDEX).is_file():
        index = _read_json(folder / INDEX, name)
        named = index.get("weight_map")
        listed = {str(file) for file in named.values()} if isinstance(named, dict) else set()
        if missing := sorted(listed - {file.name for file in files}):
            raise ModelError(f"{name} lacks {', '.join(missing)}, which {INDEX} names: fetch it again")
    for file in files:
        try:
            with safe_open(file, framework="numpy"):  # compares what its header says with its length
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{name}: {file.name} is damaged or cut off: {error}") from error
    # transformers makes a fast tokenizer of these, of the last one by means of a package that Errata does not bring.
    makings = ("tokenizer.json", "vocab.json", *(("tokenizer.model",) if find_spec("sentencepiece") else ()))
    if not any((folder / file).is_file() for file in makings):
        raise ModelError(
            f"{name} has no fast tokenizer (tokenizer.json), which tells where a subject ends; where sentencepiece is "
            "installed, transformers' AutoTokenizer.from_pretrained(folder).save_pretrained(folder) makes one"
        )


def _instead(folder: Path) -> str:
    """Say what to do with what a folder holds in the place of a checkpoint."""
    if found := next(folder.glob("*.gguf"), None):
        return f", but {found.name}: {CONVERT_GGUF}"
    if found := next(folder.glob("*.bin"), None):
        return f", but {found.name}: load it with transformers where you trust it, and save_pretrained it again"
    return "; name the folder of a whole checkpoint in Hugging Face's form, or download it again"


def _read_json(file: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{name}: {file.name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{name}: {file.name} is no JSON object")
    return value
