"""Storing tensors so that a crash leaves either the old file or the new one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


def store(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Put tensors at `path` as safetensors, replacing what is there, and wait until they are on the disk.

    Several processes may do so at once: the last one's file stays, whole.
    """
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    save_file({name: tensor.cpu() for name, tensor in tensors.items()}, scratch, metadata=dict(metadata))
    _sync(scratch)
    scratch.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
