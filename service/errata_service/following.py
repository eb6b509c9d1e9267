"""Following jobs: answers that are held back until a job has ended, and its events as they come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from errata_client.records import JobStatus
from errata_registry.jobs.kinds import Shown
from errata_registry.jobs.store import JobStore
from fastapi import Query
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent

from errata_service.replica import ServingReplica

MAX_WAIT_S = 60
# Between two looks on behalf of a client that waits for news.
LOOK_S = 0.1

Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for its end.")]


async def ended(store: JobStore[Any, Shown], job_id: str, wait: float, replica: ServingReplica) -> Shown:
    """Return a job's record once it has ended, or `wait` seconds are over, or the service stops."""
    deadline = time.monotonic() + wait
    while True:
        record = await run_in_threadpool(store.record, job_id)
        if record.ended or time.monotonic() >= deadline or replica.stopping.is_set():
            return record
        await asyncio.sleep(LOOK_S)


async def events(
    store: JobStore[Any, Any], job_id: str, after: str | None, replica: ServingReplica
) -> AsyncIterator[ServerSentEvent]:
    """Yield what happened to a job after the event with id `after`; the last one is a `status` that is final."""
    after = after or "0"
    while not replica.stopping.is_set():
        record = await run_in_threadpool(store.record, job_id)
        news = await run_in_threadpool(store.events, job_id, after)
        for event in news:
            yield ServerSentEvent(data=event.data, event=event.name, id=event.id)
            if event.name == "status" and JobStatus(event.data["status"]).final:
                return
            after = event.id
        if record.ended and not news:
            # The client has seen it all before, or the end is recorded and its event is not out yet.
            yield ServerSentEvent(data=record, event="status")
            return
        await asyncio.sleep(LOOK_S)
