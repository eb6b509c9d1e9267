"""Parts of lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from errata_client.records import Page

Item = TypeVar("Item")


def page_of(found: Sequence[Item], limit: int, cursor: Callable[[Item], str]) -> Page[Item]:
    """Return the first `limit` of the items that were found; one more tells that another part follows."""
    data, has_more = tuple(found[:limit]), len(found) > limit
    return Page(data=data, has_more=has_more, next=cursor(data[-1]) if has_more else None)
