"""Lists on the wire, walked with `?limit=&after=`."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from errata_client.records import Page
from errata_registry import stored
from fastapi import Query

from errata_service.problems import ProblemError

Entry = TypeVar("Entry")
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many entries.")]


def page_of(entries: Sequence[Entry], cursor: Callable[[Entry], str], limit: int, after: str | None) -> Page[Entry]:
    """Return the part of a whole list that follows the entry whose cursor is `after`.

    Raises:
        ProblemError: no entry has that cursor.
    """
    start = 0
    if after is not None:
        start = next((place for place, entry in enumerate(entries, start=1) if cursor(entry) == after), -1)
        if start < 0:
            raise unknown_cursor(after)
    return stored.page_of(entries[start : start + limit + 1], limit, cursor)


def unknown_cursor(after: str) -> ProblemError:
    """Return the error for a cursor that no entry of a list has."""
    return ProblemError(422, "invalid-request", f"query parameter after: {after!r} is not in this list")
