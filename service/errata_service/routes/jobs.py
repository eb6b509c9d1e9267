"""What the routes of all kinds of jobs share: queueing one, their list, one of them, its events, and cancelling it."""

# Annotations are evaluated here, where the kind is known, so there is no `from __future__ import annotations`.

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from errata_client.records import Job, Page
from errata_registry.jobs.kinds import JobKind
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from errata_service.dependencies import CallerDep, FollowersDep, RegistryDep, may_edit, may_read
from errata_service.pages import Limit
from errata_service.streaming import ServerSentEvents

API = "/api/v1"  # all native routes are there; they are without it, too, as they were called first
MAX_WAIT_S = 60

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d{1,20}(-\d{1,20})?$")]
Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for its end.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same key and body, sent to the same route, give the same job for 24 hours.",
    ),
]
_EVENT = {"type": "object", "properties": {name: {"type": "string"} for name in ("id", "event", "data")}}
_EVENTS = {"responses": {"200": {"content": {"text/event-stream": {"itemSchema": _EVENT}}}}}

Queued = TypeVar("Queued", bound=Job)


@dataclass
class _Queueing:
    """Who queues a job, by which route and under which key, and the answer that names it."""

    request: Request
    response: Response
    by: CallerDep
    idempotency_key: IdempotencyKey = None

    @property
    def route(self) -> str:
        """The route that was taken, such as `/edits/{edit_id}/retry`."""
        return str(self.request.scope["route"].path)

    def named(self, kind: JobKind[Any, Queued], job: Queued) -> Queued:
        """Name the job in `Location`; return it."""
        prefix = API if self.request.url.path.startswith(f"{API}/") else ""
        self.response.headers["Location"] = f"{prefix}/{kind.name}s/{job.id}"
        return job


QueueingDep = Annotated[_Queueing, Depends(_Queueing)]


def add_list(router: APIRouter, kind: JobKind[Any, Any]) -> None:
    """Give a kind of jobs the route that lists them."""
    called = f"{kind.name}s"

    @router.get(
        f"/{called}",
        name=f"list_{called}",
        summary=f"The {called}, newest first",
        description=f"`after` takes the id of {_one(kind)} and gives the older ones.",
        response_model=Page[kind.record],  # type: ignore[name-defined]
        **may_read(422, 503),
    )
    def list_jobs(registry: RegistryDep, limit: Limit = 20, after: str | None = None) -> Any:
        return registry.store(kind).page(limit, after)


def add_routes_of_one(router: APIRouter, kind: JobKind[Any, Any]) -> None:
    """Give a kind of jobs the routes that show one of them, follow it and cancel it."""
    path, name = f"/{kind.name}s/{{{kind.name}_id}}", kind.name
    JobId = Annotated[str, Path(alias=f"{name}_id")]

    @router.get(path, name=f"get_{name}", summary=f"One {name}", response_model=kind.record, **may_read(404, 422, 503))
    async def get_job(job_id: JobId, registry: RegistryDep, followers: FollowersDep, wait: Wait = 0) -> Any:
        """How it stands; with `wait`, once it has ended or the time is over."""
        store = registry.store(kind)
        if wait:
            async with followers.following(store, job_id) as feed:
                with suppress(TimeoutError):
                    await asyncio.wait_for(feed.end(), wait)
                if feed.outcome is not None:
                    return feed.outcome
        return await run_in_threadpool(store.record, job_id)

    @router.post(
        f"{path}/cancel",
        name=f"cancel_{name}",
        summary=f"Cancel {_one(kind)}",
        response_model=kind.record,
        **may_edit(404, 409, 503),
    )
    def cancel_job(job_id: JobId, registry: RegistryDep) -> Any:
        """One that is queued ends at once, one that runs at its next step. 409 where it has ended otherwise."""
        return registry.store(kind).cancel(job_id)

    async def followed(
        job_id: JobId, registry: RegistryDep, followers: FollowersDep, last_event_id: LastEventId = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        after = last_event_id or "0"
        async with followers.following(registry.store(kind), job_id) as feed:
            await feed.reach(after)
            yield feed.events(after)

    @router.get(
        f"{path}/events",
        name=f"follow_{name}",
        summary=f"Follow {_one(kind)}",
        response_class=StreamingResponse,
        openapi_extra=_EVENTS,
        **may_read(404, 422, 503),
    )
    async def follow_job(events: Annotated[AsyncIterator[bytes], Depends(followed)]) -> Response:
        """Server-sent events: `progress`, `log` and `status`. The last one is a `status` that is final.

        `Last-Event-ID` resumes behind an event; without it, all that has happened is told.
        """
        return ServerSentEvents(events)


def _one(kind: JobKind[Any, Any]) -> str:
    return f"{'an' if kind.name[0] in 'aeiou' else 'a'} {kind.name}"
