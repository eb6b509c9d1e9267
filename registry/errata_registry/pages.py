"""Lists that are walked part by part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Part of a list. `next` is the cursor to go on after, None at the list's end."""

    data: tuple[Item, ...]
    next: str | None


def page_of(found: Sequence[Item], limit: int, cursor: Callable[[Item], str]) -> Page[Item]:
    """A page of at most `limit`, of one more where there are more."""
    data = tuple(found[:limit])
    return Page(data, cursor(data[-1]) if len(found) > limit else None)
