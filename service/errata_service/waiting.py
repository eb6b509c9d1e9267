"""Answers that are held back until what they tell of has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Protocol, TypeVar

from errata_registry.records import EditStatus
from fastapi import Query
from fastapi.concurrency import run_in_threadpool

from errata_service.replica import ServingReplica

MAX_WAIT_S = 60
# Between two looks on behalf of a client that waits for news.
LOOK_S = 0.1

Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for its end.")]


class Standing(Protocol):
    """How something stands that ends some day."""

    @property
    def status(self) -> EditStatus: ...


Record = TypeVar("Record", bound=Standing)


async def ended(look: Callable[[], Record], wait: float, replica: ServingReplica) -> Record:
    """How it stands once it has ended, or `wait` seconds are over, or the service stops."""
    deadline = time.monotonic() + wait
    while True:
        record = await run_in_threadpool(look)
        if record.status.final or time.monotonic() >= deadline or replica.stopping.is_set():
            return record
        await asyncio.sleep(LOOK_S)
