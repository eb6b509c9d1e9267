"""Store tensors so that a crash leaves either the old file or the new one, and at most a scratch file beside it.

The header of each file holds a checksum of all else in it: of the rest of the header, as JSON, and of the bytes of the
tensors. It is taken of the file, so that looking at it again takes no more memory than a buffer, and no torch.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from safetensors.torch import save_file
from torch import Tensor

from errata.files import durable

STALE_AFTER_S = 86_400.0  # by then nobody is writing a scratch file any more
MAX_HEADER_BYTES = 100_000_000  # as safetensors has it
BLOCK_BYTES = 1 << 20
CHECKSUM = "checksum"
_BLANK = "0" * 64
_BLANK_MEMBER = f'"{CHECKSUM}":"{_BLANK}"'.encode()


def store(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, synced: bool = True) -> None:
    """Put tensors at `path` as safetensors, replacing what is there, and wait until they are on the disk.

    Several processes may do so at once: the last one's file stays, whole.

    Args:
        synced: False does not wait, for what is as well computed again where the machine crashes.
    """
    scratch = durable.scratch_beside(path)
    try:
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, scratch, {**metadata, CHECKSUM: _BLANK})
        with scratch.open("r+b") as file:
            header = _header(file)
            digest = _digest(json.loads(header), file)
            file.seek(8 + header.index(_BLANK_MEMBER))
            file.write(_BLANK_MEMBER.replace(_BLANK.encode(), digest.encode()))
        if synced:
            durable.sync(scratch)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    if synced:
        durable.sync(path.parent)


def checksum_fits(path: Path) -> bool | None:
    """Return True if a file of tensors is as it was stored, and False if it is damaged; None if it has no checksum.

    Raises `OSError` where the file cannot be read, or is not there.
    """
    with path.open("rb") as file:
        try:
            header = json.loads(_header(file))
            about = header.get("__metadata__", {})
            if CHECKSUM in about:
                return bool(_digest(header, file) == about[CHECKSUM])
            if "sha256" in about:  # of the only tensor: so it was before headers were covered, too
                return bool(hashlib.file_digest(file, "sha256").hexdigest() == about["sha256"])
        except (ValueError, AttributeError, TypeError):  # it is no safetensors' header any more
            return False
    return None


class Checks:
    """Which files of tensors were found whole, so that a large one is gone through once and not each time it is used.

    A file that was replaced or written to since is looked at again.
    """

    def __init__(self) -> None:
        self._whole: dict[Path, tuple[int, int, int]] = {}  # inode, bytes, when it was last written to

    def damaged(self, paths: Iterable[Path]) -> list[Path]:
        """Return those of the files that are damaged. Several are read at once.

        One that is missing, or that the disk does not give, is not among them: whoever uses it meets the `OSError`.
        """
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            paths = list(paths)
            return [path for path, damaged in zip(paths, threads.map(self._is_damaged, paths), strict=True) if damaged]

    def _is_damaged(self, path: Path) -> bool:
        with suppress(OSError):
            status = path.stat()
            state = status.st_ino, status.st_size, status.st_mtime_ns
            if self._whole.get(path) != state:
                if checksum_fits(path) is False:
                    return True
                self._whole[path] = state
        return False


def _header(file: IO[bytes]) -> bytes:
    """Read the header of safetensors, which the bytes of the tensors follow. Raises `ValueError`."""
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    return file.read(length)


def _digest(header: Mapping[str, Any], rest: IO[bytes]) -> str:
    """Return the checksum of a file by its header, whose own checksum does not count, and what follows it."""
    about = {name: value for name, value in header["__metadata__"].items() if name != CHECKSUM}
    digest = hashlib.sha256(json.dumps({**header, "__metadata__": about}, sort_keys=True).encode())
    while block := rest.read(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def remove_leftovers(folder: Path) -> None:
    """Remove the scratch files of processes that were killed in the middle of `store`.

    Only those older than a day: a younger one may be another process's, which is at work.
    """
    for scratch in folder.glob(".*.safetensors.*"):
        with suppress(FileNotFoundError):  # another process removes them as well
            if time.time() - scratch.stat().st_mtime > STALE_AFTER_S:
                scratch.unlink()
