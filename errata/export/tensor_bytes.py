"""The bytes of a safetensors file: the header's length in 8 bytes, the header as JSON, and the tensors."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from errata.errors import ModelError
from errata.export.archive import PIECE

LENGTH_BYTES = 8
ALIGNMENT = 8
FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """The place of a tensor in a file."""

    name: str
    dtype: str  # as safetensors names it, `BF16` for instance
    shape: tuple[int, ...]
    start: int  # the file's byte at which it begins
    num_bytes: int  # how many it takes


def stored_tensors(path: Path) -> list[StoredTensor]:
    """List the tensors of a safetensors file; only its header is read.

    Raises:
        ModelError: it is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(path, framework="pt"):
            pass  # opening it has held the header against the file's size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            entries = json.loads(file.read(length))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}") from error
    entries.pop("__metadata__", None)
    stored = []
    for name, entry in entries.items():
        start, end = entry["data_offsets"]
        stored.append(
            StoredTensor(name, entry["dtype"], tuple(entry["shape"]), LENGTH_BYTES + length + start, end - start)
        )
    return stored


def float32_header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return what precedes the bytes of float32 tensors, which must follow in the order of `shapes`."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + float32_size(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    return len(header).to_bytes(LENGTH_BYTES, "little") + header


def float32_size(shape: tuple[int, ...]) -> int:
    """Return the size of a float32 tensor in bytes."""
    return FLOAT32_BYTES * math.prod(shape)


def pieces_of(tensor: Tensor) -> Iterator[bytes]:
    """Yield a tensor's bytes in pieces of at most 1 MiB. The tensor is copied only if it is not contiguous."""
    content = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
    for start in range(0, len(content), PIECE):
        yield bytes(content[start : start + PIECE])
