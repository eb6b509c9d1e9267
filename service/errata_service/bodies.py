"""Reading what is posted: each route's limit, and JSON in steps that keep neither the event loop nor the interpreter.

A body is counted before it is looked at: its bytes while they come, its fields and items before anything is checked. It
must come steadily, and all that are being read or handled have a bounded room together.
Python's and pydantic's readers of JSON hold the interpreter from the first byte to the last, so a body of more than
`ONE_STEP` bytes is read item by item, in a thread of its own, and other threads have their turn between two items.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from json import JSONDecodeError
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from errata.facts import MAX_FACTS
from errata_service.problems import Overloaded

MAX_BYTES = 2**20
MAX_BYTES_WITH_RECORDS = 64 * 2**20
# All bodies that are being read or handled; a small part of each is free, so that large ones keep no small one out.
ROOM_BYTES = 4 * MAX_BYTES_WITH_RECORDS
FREE_BYTES = 2**16
# Bytes a second that a body must come with on average, once the first patience is over.
SLOWEST = 2**15
MAX_FIELDS = 200
ONE_STEP = 2**18
LONGEST_ITEM = 2**20

_SLICES = (2**12, 2**16, LONGEST_ITEM)
_SPACE = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder()

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def takes_records(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint whose body may hold thousands of facts or records, and be as large as they are."""
    endpoint.max_body_bytes = MAX_BYTES_WITH_RECORDS  # type: ignore[attr-defined]
    return endpoint


class BoundedRoute(APIRoute):
    """A route that reads no more of a body than could be meant: 1 MiB, and 64 MiB where it takes records."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        limit: int = getattr(self.endpoint, "max_body_bytes", MAX_BYTES)

        async def handle_bounded(request: Request) -> Response:
            bounded = _BoundedRequest(request, limit)
            try:
                return ended_with_newline(await handle(bounded))
            except HTTPException:  # what FastAPI makes of any other error of a body that is read
                if bounded.fault is not None:
                    raise bounded.fault from None
                raise
            finally:
                bounded.bodies.give_back(bounded.taken)

        return handle_bounded


def ended_with_newline(response: Response) -> Response:
    """Let an answer of JSON that is whole end as a line does, so that a terminal shows it well."""
    body = getattr(response, "body", b"")  # what is streamed, or sent from a file, has none
    if body and response.media_type == "application/json":
        response.body = body + b"\n"
        response.headers["Content-Length"] = str(len(response.body))
    return response


class Bodies:
    """The bodies that are being read or handled in this process, and the room that they have."""

    def __init__(self, patience_s: float) -> None:
        """`patience_s`: how long a client may be silent within a body."""
        self.patience_s = patience_s
        self._room = ROOM_BYTES

    def take(self, size: int) -> None:
        """Take room. Raises `Overloaded` where there is none."""
        if size > self._room:
            raise Overloaded("as many large bodies are being read as may; try again later")
        self._room -= size

    def give_back(self, size: int) -> None:
        """Give back room that was taken."""
        self._room += size


class _BoundedRequest(Request):
    """A request whose body ends at a limit, and is read as JSON without holding up others.

    Attributes:
        bodies: all bodies; this one has `taken` some of their room.
        fault: why the body is refused, where FastAPI would say it otherwise.
    """

    def __init__(self, request: Request, limit: int) -> None:
        super().__init__(request.scope, request.receive)
        self._limit = limit
        self.bodies: Bodies = request.app.state.bodies
        self.taken = 0
        self.fault: RequestValidationError | Overloaded | None = None

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            HTTPException: 413 as soon as it is too long, 408 as soon as it comes too slowly.
            Overloaded: there is no room for it.
        """
        if not hasattr(self, "_body"):
            if (announced := self.headers.get("content-length", "0")).isdecimal() and int(announced) > self._limit:
                raise self._too_long()
            body = bytearray()
            async for part in self._parts():
                if len(body) + len(part) > self._limit:
                    raise self._too_long()
                self._take_room(len(body) + len(part) - FREE_BYTES)
                body += part
            self._body = bytes(body)
        return self._body

    def _take_room(self, size: int) -> None:
        if size > self.taken:
            try:
                self.bodies.take(size - self.taken)
            except Overloaded as fault:
                self.fault = fault
                raise
            self.taken = size

    async def _parts(self) -> AsyncIterator[bytes]:
        """Yield the body's parts, each of which must come in time."""
        clock, patience_s = asyncio.get_running_loop().time, self.bodies.patience_s
        overdue = clock() + patience_s
        parts = self.stream()
        try:
            while True:
                async with asyncio.timeout_at(min(clock() + patience_s, overdue)):
                    part = await anext(parts)
                overdue += len(part) / SLOWEST
                yield part
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise HTTPException(408, "the body came too slowly", {"Connection": "close"}) from None

    async def json(self) -> Any:
        """Return the body's value. Raises `JSONDecodeError`, `RequestValidationError`."""
        body = await self.body()
        try:
            return read_json(body) if len(body) <= ONE_STEP else await run_in_threadpool(read_json, body)
        except RequestValidationError as fault:
            self.fault = fault
            raise

    def _too_long(self) -> HTTPException:
        return HTTPException(413, f"a body has at most {self._limit} bytes here", {"Connection": "close"})


def read_json(body: bytes) -> Any:
    """Return the value that `body` holds.

    Raises:
        JSONDecodeError: it is not JSON, or none that is understood here, in words for whoever sent it.
        RequestValidationError: an object has too many fields, a list too many items, or one item is too long.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise JSONDecodeError("it is not UTF-8", "", error.start) from error
    if len(text) <= ONE_STEP:
        value, end = _value(text, _after_space(text, 0), ())
    else:
        value, end = _object_in_steps(text, _after_space(text, 0))
    if end != len(text):
        raise JSONDecodeError("something follows its end", "", end)
    return value


def _object_in_steps(text: str, at: int) -> tuple[dict[str, Any], int]:
    """Return the object that begins at `at`, and where the text goes on behind it."""
    if text[at : at + 1] != "{":
        raise JSONDecodeError("it is no object", "", at)
    found: dict[str, Any] = {}
    at = _after_space(text, at + 1)
    while text[at : at + 1] != "}":
        if text[at : at + 1] != '"':
            raise JSONDecodeError("a field's name is missing", "", at)
        name, at = _value(text, at, ())
        at = _after(":", text, at)
        if len(found) >= MAX_FIELDS:
            raise _fault((), f"has more than {MAX_FIELDS} fields")
        found[name], at = _list_in_steps(text, at, name) if text[at : at + 1] == "[" else _value(text, at, (name,))
        at = _behind_item(text, at, "}")
    return found, _after_space(text, at + 1)


def _list_in_steps(text: str, at: int, name: str) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _after_space(text, at + 1)
    while text[at : at + 1] != "]":
        if len(items) >= MAX_FACTS:
            raise _fault((name,), f"has more than {MAX_FACTS} items")
        item, at = _value(text, at, (name, len(items)))
        items.append(item)
        at = _behind_item(text, at, "]")
    return items, _after_space(text, at + 1)


def _value(text: str, at: int, place: tuple[str | int, ...]) -> tuple[Any, int]:
    """Return the value that begins at `at`, and where the text goes on behind it.

    It is looked for in ever longer pieces of the text, so that what is too long is never read as a whole.
    """
    for size in _SLICES:
        piece = text[at : at + size]
        is_cut = at + size < len(text)
        try:
            value, end = _decoder.raw_decode(piece)
        except JSONDecodeError as error:
            if not is_cut:
                raise JSONDecodeError(_plain(error.msg), "", at + error.pos) from None
        except RecursionError:
            raise _fault(place, "is nested too deep") from None
        except ValueError:
            raise _fault(place, "holds a number of too many digits") from None
        else:
            if not (is_cut and end == len(piece)):  # a number may go on behind the piece
                _refuse_wide(value, place)
                return value, _after_space(text, at + end)
    raise _fault(place, f"is not JSON, or is longer than {LONGEST_ITEM} characters")


def _refuse_wide(value: Any, place: tuple[str | int, ...]) -> None:
    """Raise where an object has too many fields, or a list too many items, however deep it lies."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(value, place)]
    while waiting:
        one, here = waiting.pop()
        if isinstance(one, dict):
            if len(one) > MAX_FIELDS:
                raise _fault(here, f"has more than {MAX_FIELDS} fields")
            waiting += [(part, (*here, name)) for name, part in one.items() if isinstance(part, dict | list)]
        elif isinstance(one, list):
            if len(one) > MAX_FACTS:
                raise _fault(here, f"has more than {MAX_FACTS} items")
            waiting += [(part, (*here, index)) for index, part in enumerate(one) if isinstance(part, dict | list)]


def _fault(place: tuple[str | int, ...], detail: str) -> RequestValidationError:
    return RequestValidationError([{"type": "too_large", "loc": ("body", *place), "msg": detail}])


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:]


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _after(mark: str, text: str, at: int) -> int:
    if text[at : at + 1] != mark:
        raise JSONDecodeError(f"a {mark!r} is missing", "", at)
    return _after_space(text, at + 1)


def _behind_item(text: str, at: int, end: str) -> int:
    """Return where the next item begins, or the end of what holds them."""
    if text[at : at + 1] == end:
        return at
    at = _after(",", text, at)
    if text[at : at + 1] == end:
        raise JSONDecodeError(f"nothing stands between ',' and {end!r}", "", at)
    return at
