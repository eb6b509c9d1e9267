"""The events of an edit, read from the service's event stream."""

import json
from collections.abc import Iterator
from typing import Literal, TypeAlias

import httpx

from errata_client import routes
from errata_client.answers import check_status
from errata_client.errors import ConnectionFailed, RequestTimedOut, StatusError, UnexpectedAnswer
from errata_client.models import EditRecord, Progress, Record
from errata_client.retries import Attempts


class ProgressEvent(Record):
    """A stage of the edit has moved on."""

    kind: Literal["progress"] = "progress"
    id: str
    progress: Progress


class LogEvent(Record):
    """The worker has something to tell."""

    kind: Literal["log"] = "log"
    id: str
    level: str
    message: str


class StatusEvent(Record):
    """The edit has a new status. After one with `edit.ended` no more events come."""

    kind: Literal["status"] = "status"
    id: str
    edit: EditRecord


Event: TypeAlias = ProgressEvent | LogEvent | StatusEvent


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


class EventStream:
    """The events of one edit over as many connections as it takes.

    It knows what to ask for, what the bytes mean and whether to connect again; it sends nothing itself.
    """

    def __init__(self, edit_id: str, last_event_id: str | None, max_retries: int) -> None:
        self.ended = False
        self._edit_id = edit_id
        self._last_event_id = last_event_id
        self._max_retries = max_retries
        self._attempts = self._new_attempts()
        self._decoder = Decoder()
        self._open = False

    def request(self) -> routes.Request[None]:
        """The request for the events after the last one seen."""
        self._decoder = Decoder()
        self._open = False
        return routes.edit_events(self._edit_id, self._last_event_id)

    def open(self, response: httpx.Response) -> None:
        """Look at the head of the answer. Raises `StatusError` or `UnexpectedAnswer`."""
        check_status(response)
        kind = response.headers.get("Content-Type", "")
        if not kind.startswith("text/event-stream"):
            raise UnexpectedAnswer(f"{response.url} answered {kind or 'no content type'}, not an event stream")
        self._open = True

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield the events that `chunk` completes, up to the one that ends the edit."""
        for event_id, name, data in self._decoder.feed(chunk):
            event = _to_event(event_id, name, data)
            self._last_event_id = event_id or self._last_event_id
            self._attempts = self._new_attempts()
            if event is None:
                continue
            self.ended = isinstance(event, StatusEvent) and event.edit.ended
            yield event
            if self.ended:
                return

    def pause_after(self, error: ConnectionFailed | StatusError) -> float:
        """Seconds to sleep before connecting again. Raises `error` where that is given up."""
        if self._open and isinstance(error, RequestTimedOut):
            return 0.0  # A queued edit is silent for long; only a new connection tells whether the server lives.
        return self._attempts.pause_after(error)

    def broken_off(self) -> ConnectionFailed:
        """What it means when the server closes the stream before the edit has ended."""
        return ConnectionFailed(f"the events of {self._edit_id} broke off", may_have_arrived=True)

    def _new_attempts(self) -> Attempts:
        return Attempts(repeatable=True, max_retries=self._max_retries)


def _to_event(event_id: str, name: str, data: str) -> Event | None:
    """The typed event, or None for a kind that only a newer server knows."""
    try:
        match name:
            case "progress":
                return ProgressEvent(id=event_id, progress=Progress.model_validate_json(data))
            case "log":
                return LogEvent.model_validate({"id": event_id, **json.loads(data)})
            case "status":
                return StatusEvent(id=event_id, edit=EditRecord.model_validate_json(data))
            case _:
                return None
    except ValueError as error:
        raise UnexpectedAnswer(f"a {name} event does not fit the contract: {data[:200]}") from error
