"""The events of a job, read from the service's event stream."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from pydantic import AliasChoices, Field, SerializerFunctionWrapHandler, model_serializer

from errata_client.errors import ConnectionFailed, RequestTimedOut, StatusError
from errata_client.event_streams import as_agreed, read_events
from errata_client.records import Edit, Evaluation, Progress, Record, Trace
from errata_client.requests import EVENT_STREAM, Request
from errata_client.transport import Transport


class ProgressEvent(Record):
    """A stage of the job has moved on."""

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
    """The job has a new status. After one with `job.ended` no more events come.

    In JSON, the job bears the name of its kind: `edit`, `evaluation` or `trace`.
    """

    kind: Literal["status"] = "status"
    id: str
    job: Edit | Evaluation | Trace = Field(
        discriminator="object", validation_alias=AliasChoices("job", "edit", "evaluation", "trace")
    )

    @property
    def edit(self) -> Edit:
        """The job, of the events of an edit."""
        assert isinstance(self.job, Edit)
        return self.job

    @model_serializer(mode="wrap")
    def _with_its_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        shown: dict[str, Any] = handler(self)
        shown[self.job.object] = shown.pop("job")
        return shown


Event: TypeAlias = ProgressEvent | LogEvent | StatusEvent


async def job_events(transport: Transport, path: str, last_event_id: str | None) -> AsyncGenerator[Event, None]:
    """Yield what happens to the job at `path` until it ends.

    Where the stream breaks off, connect again and go on after the last event seen.
    """
    request = Request(path=f"{path}/events", answer=object, accepts=EVENT_STREAM)
    attempts = transport.attempts(request)
    while True:
        opened = False
        resumed = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        try:
            async with transport.open(replace(request, headers=resumed)) as response:
                opened = True
                async for event_id, name, data in read_events(transport, response):
                    with as_agreed(name, data):
                        event = _event(event_id, name, data)
                    last_event_id = event_id or last_event_id
                    attempts = transport.attempts(request)
                    if event is not None:
                        yield event
                    if isinstance(event, StatusEvent) and event.job.ended:
                        return
            raise ConnectionFailed(f"the events of {path.rpartition('/')[2]} broke off", may_have_arrived=True)
        except (ConnectionFailed, StatusError) as error:
            # A queued job is silent for long; only a new connection tells whether the server lives.
            if not (opened and isinstance(error, RequestTimedOut)):
                await attempts.pause_after(error)


def _event(event_id: str, name: str, data: str) -> Event | None:
    """Return the typed event, or None for one that only a newer service knows."""
    match name:
        case "progress":
            return ProgressEvent.model_validate({"id": event_id, "progress": json.loads(data)}, extra="allow")
        case "log":
            return LogEvent(id=event_id, **json.loads(data))
        case "status":
            return StatusEvent.model_validate({"id": event_id, "job": json.loads(data)}, extra="allow")
    return None
