"""A small disk, a file system in memory over a folder, that can be filled and made read-only. It needs root."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE = "size=256m"
PATIENCE_S = 5.0


def mount(folder: Path) -> bool:
    """Mount a small disk over a folder; return False where that is not allowed."""
    return _run("mount", "-t", "tmpfs", "-o", SIZE, "tmpfs", folder)


def unmount(folder: Path) -> None:
    """Take away the disk that is mounted over a folder, even while something on it is open."""
    assert _run("umount", folder) or _run("umount", "--lazy", folder)


@contextmanager
def filled(folder: Path, bytes_left: int = 0) -> Iterator[None]:
    """Fill the disk up to so many bytes, meanwhile."""
    filler, disk = folder / "filler", os.statvfs(folder)
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, disk.f_bavail * disk.f_frsize - bytes_left - 2**20))
        file.seek(0, os.SEEK_END)
        while os.statvfs(folder).f_bavail * disk.f_frsize > bytes_left:  # others write at the same time
            file.write(bytes(disk.f_frsize))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write to the disk, meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not _run("mount", "-o", "remount,ro", folder):  # refused while a file is open for writing
        assert time.monotonic() < deadline, f"{folder} is written to all the time"
        time.sleep(0.02)
    try:
        yield
    finally:
        assert _run("mount", "-o", f"remount,rw,{SIZE}", folder)


def _run(*command: str | Path) -> bool:
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False
