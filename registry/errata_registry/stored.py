"""What is stored in a home folder, and how it is read: one record a file, or one a line; and parts of lists of it.

The file of a record carries a checksum; a file of lines is named by a record that knows it (`StoredFile`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from errata_client.records import Page, Record
from errata_client.records.wordings import in_words
from pydantic import BaseModel

from errata.errors import CorruptArtifact
from errata.files import durable
from errata.files.checksums import checked, with_checksum

Item = TypeVar("Item")
Stored = TypeVar("Stored", bound=BaseModel)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def text_of(record: BaseModel, *, indent: int | None = None) -> str:
    """Return what the file of a record holds, its checksum included."""
    return with_checksum(record.model_dump_json(indent=indent))


def read_record(path: Path, kind: type[Stored], called: str | None = None) -> Stored:
    """Read the record in a file; fields that a newer program added are passed over.

    Args:
        called: what errors call it, by default the file's path.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read at the moment.
        CorruptArtifact: it does not hold such a record, or not the one that was written.
    """
    try:
        with in_words(kind):
            return kind.model_validate_json(checked(path.read_bytes()), extra="ignore")
    except ValueError as error:
        raise _unreadable(called or path, error) from error


def read_lines(path: Path, kind: type[Stored], called: str | None = None) -> tuple[Stored, ...]:
    """Read the records in a file of one JSON object a line. Raises as `read_record`."""
    try:
        with path.open("rb") as lines, in_words(kind):
            return tuple(kind.model_validate_json(line, extra="ignore") for line in lines)
    except ValueError as error:
        raise _unreadable(called or path, error) from error


def _unreadable(called: str | Path, error: Exception) -> CorruptArtifact:
    return CorruptArtifact(f"{called} cannot be read, and has to be put back from a copy: {error}")


def page_of(found: Sequence[Item], limit: int, cursor: Callable[[Item], str]) -> Page[Item]:
    """Return the first `limit` of the items that were found; one more tells that another part follows."""
    data, has_more = tuple(found[:limit]), len(found) > limit
    return Page(data=data, has_more=has_more, next=cursor(data[-1]) if has_more else None)


class StoredRecord(Record):
    """Base of the records that only the home folder holds. `format` is the number of the record's form."""

    format: int = 1


class StoredFile(Record):
    """A file, by what it must be."""

    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> StoredFile:
        """Describe a file as it is."""
        return cls(sha256=durable.sha256(path), bytes=path.stat().st_size)

    @classmethod
    def synced(cls, path: Path) -> StoredFile:
        """Describe a file as it is, once its bytes are on the disk."""
        durable.sync(path)
        return cls.of(path)

    def require(self, path: Path, called: str) -> None:
        """Raise `CorruptArtifact` unless the file at `path` is this one. `called` is what errors call its folder."""
        if fault := self._fault_of(path):
            raise CorruptArtifact(f"{called}: {path.name} {fault}; put it back from a copy")

    def _fault_of(self, path: Path) -> str | None:
        if not path.exists():
            return "is missing"
        if (size := path.stat().st_size) != self.bytes:
            return f"has {size} bytes instead of {self.bytes}"
        return None if durable.sha256(path) == self.sha256 else "does not have the checksum that was noted of it"
