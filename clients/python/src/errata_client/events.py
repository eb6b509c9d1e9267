"""The events of an edit, read from the service's event stream."""

import json
from typing import Literal, TypeAlias

from errata_client import routes
from errata_client.errors import ConnectionFailed, RequestTimedOut, StatusError
from errata_client.event_streams import EventStream
from errata_client.models import EditRecord, Progress, Record


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


class EditEvents(EventStream[Event]):
    """The events of one edit, taken up again after the last one seen."""

    def __init__(self, edit_id: str, last_event_id: str | None, max_retries: int) -> None:
        super().__init__(f"the events of {edit_id}", max_retries)
        self._edit_id = edit_id
        self._last_event_id = last_event_id

    def pause_after(self, error: ConnectionFailed | StatusError) -> float:
        if self._open and isinstance(error, RequestTimedOut):
            return 0.0  # A queued edit is silent for long; only a new connection tells whether the server lives.
        return super().pause_after(error)

    def _request(self) -> routes.Request[None]:
        return routes.edit_events(self._edit_id, self._last_event_id)

    def _read(self, event_id: str, name: str, data: str) -> Event | None:
        event = _to_event(event_id, name, data)
        self._last_event_id = event_id or self._last_event_id
        self._attempts = self._new_attempts()
        self.ended = isinstance(event, StatusEvent) and event.edit.ended
        return event


def _to_event(event_id: str, name: str, data: str) -> Event | None:
    match name:
        case "progress":
            return ProgressEvent(id=event_id, progress=Progress.model_validate_json(data))
        case "log":
            return LogEvent.model_validate({"id": event_id, **json.loads(data)})
        case "status":
            return StatusEvent(id=event_id, edit=EditRecord.model_validate_json(data))
        case _:
            return None
