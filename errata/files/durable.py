"""Write files so that a crash leaves either the old state or the new one, never something between."""

import hashlib
import os
from pathlib import Path


def write(path: Path, content: str) -> None:
    """Put `content` at `path`, replacing what is there, and wait until it is on the disk."""
    scratch = scratch_beside(path)
    try:
        scratch.write_text(content, encoding="utf-8")
        sync(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    sync(path.parent)


def write_once(path: Path, content: str) -> bool:
    """Put `content` at `path` unless something is there. Return True to exactly one of several writers."""
    scratch = scratch_beside(path)
    try:
        scratch.write_text(content, encoding="utf-8")
        sync(scratch)
        os.link(scratch, path)
    except FileExistsError:
        return False
    finally:
        scratch.unlink(missing_ok=True)
    sync(path.parent)
    return True


def scratch_beside(path: Path) -> Path:
    """Return a name beside `path` that no other process uses. (In containers, process ids are not unique.)"""
    return path.with_name(f".{path.name}.{os.urandom(4).hex()}")


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
