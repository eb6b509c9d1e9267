"""The routes that all kinds of jobs have: their list, one of them, its events, and cancelling it."""

# Annotations are evaluated here, where the kind is known, so there is no `from __future__ import annotations`.

from collections.abc import AsyncIterator
from typing import Annotated, Any

from errata_client.records import Page
from errata_registry.jobs.kinds import JobKind
from fastapi import APIRouter, Depends, Header, Path
from fastapi.sse import EventSourceResponse, ServerSentEvent

from errata_service import following
from errata_service.dependencies import RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.following import Wait
from errata_service.pages import Limit

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d+(-\d+)?$")]


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
    async def get_job(job_id: JobId, replica: ReplicaDep, wait: Wait = 0) -> Any:
        """How it stands; with `wait`, once it has ended or the time is over."""
        return await following.ended(replica.registry.store(kind), job_id, wait, replica)

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

    def known(job_id: JobId, registry: RegistryDep) -> str:
        return str(registry.store(kind).record(job_id).id)

    @router.get(
        f"{path}/events",
        name=f"follow_{name}",
        summary=f"Follow {_one(kind)}",
        response_class=EventSourceResponse,
        **may_read(404, 422, 503),
    )
    async def follow_job(
        known_id: Annotated[str, Depends(known)], replica: ReplicaDep, last_event_id: LastEventId = None
    ) -> AsyncIterator[ServerSentEvent]:
        """Server-sent events: `progress`, `log` and `status`. The last one is a `status` that is final.

        `Last-Event-ID` resumes behind an event; without it, all that has happened is told.
        """
        async for event in following.events(replica.registry.store(kind), known_id, last_event_id, replica):
            yield event


def _one(kind: JobKind[Any, Any]) -> str:
    return f"{'an' if kind.name[0] in 'aeiou' else 'a'} {kind.name}"
