"""Streams of events as the service sends them: their bytes, and the connections that they come over."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, TypeVar

import httpx

from errata_client.answers import check_status
from errata_client.errors import ConnectionFailed, StatusError, UnexpectedAnswer
from errata_client.models import Record
from errata_client.retries import Attempts
from errata_client.routes import Request

E = TypeVar("E", bound=Record)


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


class EventStream(ABC, Generic[E]):
    """Typed events over as many connections as it takes, until it has `ended`.

    It knows what to ask for, what the bytes mean and whether to connect again; it sends nothing itself.
    """

    def __init__(self, subject: str, max_retries: int) -> None:
        self.ended = False
        self._subject = subject
        self._max_retries = max_retries
        self._attempts = self._new_attempts()
        self._decoder = Decoder()
        self._open = False

    def request(self) -> Request[None]:
        """The request for the events that are still to come."""
        self._decoder = Decoder()
        self._open = False
        return self._request()

    def open(self, response: httpx.Response) -> None:
        """Look at the head of the answer. Raises `StatusError` or `UnexpectedAnswer`."""
        check_status(response)
        kind = response.headers.get("Content-Type", "")
        if not kind.startswith("text/event-stream"):
            raise UnexpectedAnswer(f"{response.url} answered {kind or 'no content type'}, not an event stream")
        self._open = True

    def feed(self, chunk: bytes) -> Iterator[E]:
        """Yield the events that `chunk` completes, up to the last one of all."""
        for event_id, name, data in self._decoder.feed(chunk):
            try:
                event = self._read(event_id, name, data)
            except ValueError as error:
                raise UnexpectedAnswer(f"event {name!r} does not fit the contract: {data[:200]}") from error
            if event is None:
                continue
            yield event
            if self.ended:
                return

    def pause_after(self, error: ConnectionFailed | StatusError) -> float:
        """Seconds to sleep before connecting again. Raises `error` where that is given up."""
        return self._attempts.pause_after(error)

    def broken_off(self) -> ConnectionFailed:
        """What it means when the server closes the stream before its end."""
        return ConnectionFailed(f"{self._subject} broke off", may_have_arrived=True)

    @abstractmethod
    def _request(self) -> Request[None]:
        """The request for the next connection."""

    @abstractmethod
    def _read(self, event_id: str, name: str, data: str) -> E | None:
        """The typed event, or None for a kind that only a newer server knows; sets `ended` with the last one.

        Raises `ValueError` where it does not fit the contract.
        """

    def _new_attempts(self) -> Attempts:
        return Attempts(repeatable=True, max_retries=self._max_retries)
