"""A tar of files that is made while it is sent, its size known before; and finding the files in one that was sent.

It is an ordinary uncompressed tar (pax, as Python's `tarfile` and GNU tar read it), without times and owners, so that
equal files give equal bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path
from tarfile import AREGTYPE, BLOCKSIZE, NUL, PAX_FORMAT, RECORDSIZE, REGTYPE, XHDTYPE, TarError, TarInfo

from errata.errors import CorruptArtifact

PIECE = 1 << 20
PAX_SIZE = re.compile(rb"^\d+ size=(\d{1,18})$", re.MULTILINE)  # of a file that is too large for the field of a header


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """A file to be archived.

    Attributes:
        name: its path inside the archive.
        size: in bytes.
        pieces: gives its bytes, from the beginning at each call; a large file's in pieces of about 1 MiB.
    """

    name: str
    size: int
    pieces: Callable[[], Iterable[bytes]]

    @classmethod
    def of_path(cls, name: str, path: Path) -> ArchivedFile:
        """Describe a file on disk, which is opened when its turn comes. Raises `OSError` if there is none."""
        return cls(name, path.stat().st_size, partial(_pieces_on_disk, path))

    @classmethod
    def of_bytes(cls, name: str, content: bytes) -> ArchivedFile:
        """Describe a small file in memory, which is one piece."""
        return cls(name, len(content), lambda: (content,))


def tar(files: Iterable[ArchivedFile]) -> Iterator[bytes]:
    """Yield the archive, `tar_size(files)` bytes, in the files' own pieces.

    Raises:
        CorruptArtifact: a file has another size than it said; the archive ends there, and so is seen to be incomplete.
        OSError: a file on disk can no longer be read.
    """
    num_bytes = 0
    for file in files:
        header = _header(file)
        yield header
        yield from _exactly(file)
        yield NUL * _missing(file.size, BLOCKSIZE)
        num_bytes += len(header) + _filled(file.size, BLOCKSIZE)
    yield NUL * (_with_end(num_bytes) - num_bytes)


def tar_size(files: Sequence[ArchivedFile]) -> int:
    """Return the size of the archive in bytes."""
    return _with_end(sum(len(_header(file)) + _filled(file.size, BLOCKSIZE) for file in files))


def find_files(path: Path) -> dict[str, tuple[int, int]]:
    """Find the files in an uncompressed tar: where the bytes of each begin and how many they are, by name.

    Unlike `tarfile`, which believes what headers say of sizes, holes and headers to come, this takes plain files alone,
    whose bytes lie in the archive.

    Raises:
        CorruptArtifact: it is no tar, is cut off, holds two files of one name, or anything but plain files, such as
            links, devices, folders and files with holes.
        OSError: it cannot be read.
    """
    found: dict[str, tuple[int, int]] = {}
    extended = b""  # what a header of its own says of the file that follows
    with path.open("rb") as archive:
        num_bytes, place = archive.seek(0, os.SEEK_END), 0
        while place < num_bytes:
            archive.seek(place)
            block = archive.read(BLOCKSIZE)
            if block == NUL * BLOCKSIZE:
                break
            try:
                entry = TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except TarError as error:
                raise CorruptArtifact(f"{path.name} is no tar, or damaged: {error}") from error
            is_plain, size = entry.type in (REGTYPE, AREGTYPE), entry.size
            if is_plain and (larger := PAX_SIZE.search(extended)):
                size = int(larger[1])
            place += BLOCKSIZE
            if not 0 <= size <= num_bytes - place:
                raise CorruptArtifact(f"{path.name} is cut off: it ends before {entry.name!r} does")
            if entry.type == XHDTYPE and size <= PIECE:
                extended = archive.read(size)
            elif not is_plain or b"GNU.sparse." in extended:
                raise CorruptArtifact(f"{path.name} does not hold plain files alone: {entry.name!r} is none")
            elif entry.name in found:
                raise CorruptArtifact(f"{path.name} holds {entry.name!r} twice")
            else:
                found[entry.name], extended = (place, size), b""
            place += _filled(size, BLOCKSIZE)
    return found


def read_pieces(file: BufferedReader, num_bytes: int) -> Iterator[bytes]:
    """Yield the next `num_bytes` of an open file, or fewer if it ends before."""
    while num_bytes > 0 and (piece := file.read(min(PIECE, num_bytes))):
        num_bytes -= len(piece)
        yield piece


def _pieces_on_disk(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _header(file: ArchivedFile) -> bytes:
    entry = TarInfo(file.name)  # of mode 0644, time 0 and no owner, unless told otherwise
    entry.size = file.size
    return entry.tobuf(PAX_FORMAT)


def _exactly(file: ArchivedFile) -> Iterator[bytes]:
    """Yield the file's bytes, exactly as many as its header says: one more or less would garble what follows."""
    left = file.size
    for piece in file.pieces():
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left != 0:
        raise CorruptArtifact(f"{file.name} is no longer of the {file.size} bytes that it had; it changed meanwhile")


def _with_end(num_bytes: int) -> int:
    """Add the two empty blocks that end the archive, and fill its last record."""
    return _filled(num_bytes + 2 * BLOCKSIZE, RECORDSIZE)


def _filled(num_bytes: int, unit: int) -> int:
    return num_bytes + _missing(num_bytes, unit)


def _missing(num_bytes: int, unit: int) -> int:
    return -num_bytes % unit
