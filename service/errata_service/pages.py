"""Lists on the wire: `{"data", "has_more", "next"}`, walked with `?limit=&after=`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

from errata_registry import pages
from fastapi import Query
from pydantic import BaseModel, Field

from errata_service.problems import ProblemError

Entry = TypeVar("Entry")
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many entries.")]


class Page(BaseModel, Generic[Entry]):
    """A part of a list; `next` is the `after` of the part that follows."""

    data: Sequence[Entry]
    has_more: bool = Field(description="Whether another part follows.")
    next: str | None = Field(description="The cursor for `after`; null at the end.")


def shown(page: pages.Page[Entry]) -> Page[Entry]:
    """A part of one of the registry's lists, as the wire shows it."""
    return Page(data=page.data, has_more=page.next is not None, next=page.next)


def page_of(entries: Sequence[Entry], cursor: Callable[[Entry], str], limit: int, after: str | None) -> Page[Entry]:
    """The part of a whole list that follows the entry whose cursor is `after`.

    Raises:
        ProblemError: no entry has that cursor.
    """
    start = 0
    if after is not None:
        start = next((place for place, entry in enumerate(entries, start=1) if cursor(entry) == after), -1)
        if start < 0:
            raise ProblemError(422, "invalid-request", f"query parameter after: {after!r} is not in this list")
    part = entries[start : start + limit]
    has_more = start + limit < len(entries)
    return Page(data=part, has_more=has_more, next=cursor(part[-1]) if has_more else None)
