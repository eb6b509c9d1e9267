"""Requests: what is sent, what comes back, and whether it may be repeated."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from errata_client.options import VersionName, given
from errata_client.records import Page

T = TypeVar("T")
P = TypeVar("P", bound=Page[Any])

PAGE_SIZE = 100
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Generic[T]):
    """One request and the type of its answer.

    Attributes:
        accepts: media type of the answer.
        repeatable: whether sending it twice does no more than sending it once.
        hold_s: seconds for which the service may hold the answer back, on top of the client's timeout.
    """

    method: str = "GET"
    path: str
    answer: type[T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    accepts: str = "application/json"
    repeatable: bool = True
    hold_s: float = 0.0


def lists(path: str, item: type[T], filters: Mapping[str, object] = {}, page_size: int = PAGE_SIZE) -> Request[Page[T]]:
    """Return the request for the first page of a list."""
    # The type checker does not see that a page can be made for a type that is known only here.
    return Request(path=path, answer=Page[item], query={"limit": page_size, **given(filters)})  # type: ignore[valid-type]


def page_after(request: Request[P], page: P) -> Request[P] | None:
    """Return the request for what follows `page`, or None where it was the last."""
    if not page.has_more or page.next is None:
        return None
    return replace(request, query={**request.query, "after": page.next})


def quoted(name: str) -> str:
    """Return a name as one part of a path."""
    return quote(name, safe="")


def version_path(version: VersionName) -> str:
    """Return the path of a version. The service finds what a name stands for."""
    return f"/versions/{quoted(str(version))}"
