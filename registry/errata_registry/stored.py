"""Reading what is stored in a home folder: one record a file, or one a line; and parts of lists of it."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from errata_client.records import Page, Record
from errata_client.records.wordings import in_words
from pydantic import BaseModel

from errata.errors import CorruptArtifact

Item = TypeVar("Item")
Stored = TypeVar("Stored", bound=BaseModel)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC)


def read_record(path: Path, kind: type[Stored], called: str | None = None) -> Stored:
    """Read the record in a file; fields that a newer program added are passed over.

    Args:
        called: what errors call it, by default the file's path.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read at the moment.
        CorruptArtifact: it does not hold such a record.
    """
    try:
        with in_words(kind):
            return kind.model_validate_json(path.read_bytes(), extra="ignore")
    except ValueError as error:
        raise CorruptArtifact(f"{called or path} cannot be read: {error}") from error


def read_lines(path: Path, kind: type[Stored], called: str | None = None) -> tuple[Stored, ...]:
    """Read the records in a file of one JSON object a line. Raises as `read_record`."""
    try:
        with path.open("rb") as lines, in_words(kind):
            return tuple(kind.model_validate_json(line, extra="ignore") for line in lines)
    except ValueError as error:
        raise CorruptArtifact(f"{called or path} cannot be read: {error}") from error


def page_of(found: Sequence[Item], limit: int, cursor: Callable[[Item], str]) -> Page[Item]:
    """Return the first `limit` of the items that were found; one more tells that another part follows."""
    data, has_more = tuple(found[:limit]), len(found) > limit
    return Page(data=data, has_more=has_more, next=cursor(data[-1]) if has_more else None)


class StoredRecord(Record):
    """Base of the records that only the home folder holds. `format` is the number of the record's form."""

    format: int = 1
