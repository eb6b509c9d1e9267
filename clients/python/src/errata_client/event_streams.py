"""Streams of events as the service sends them."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import httpx

from errata_client.errors import UnexpectedAnswer
from errata_client.transport import Transport


class Decoder:
    """Cuts the bytes of an event stream into (id, name, data), however they were cut on the way."""

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str, str]]:
        """Yield the events that `chunk` completes."""
        lines = (self._rest + chunk).splitlines(keepends=True)
        # A carriage return at the very end may be the first half of a line's end.
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            text = line.rstrip(b"\r\n").decode(errors="replace")
            if text:
                self._take(text)
                continue
            if self._data:
                yield self._id, self._name, "\n".join(self._data)
            self._name, self._data = "", []

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self._id = value
        elif name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)


async def read_events(transport: Transport, response: httpx.Response) -> AsyncGenerator[tuple[str, str, str], None]:
    """Yield the events of one connection, each as (id, name, data)."""
    decoder = Decoder()
    async for chunk in transport.network.chunks(response):
        for event in decoder.feed(chunk):
            yield event


@contextmanager
def as_agreed(name: str, data: str) -> Iterator[None]:
    """Raise `UnexpectedAnswer` where what is read within is a `ValueError`: the event does not fit the contract."""
    try:
        yield
    except ValueError as error:
        raise UnexpectedAnswer(f"event {name!r} does not fit the contract: {data[:200]}") from error
