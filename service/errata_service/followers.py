"""Those who follow jobs, or wait for their end: one reader in this process serves all of them.

What happens to the jobs that somebody follows is read from Redis for all of them at once, and kept as long as somebody
follows. So a follower costs neither a thread nor a question to Redis, and the events of a job are read once, however
many follow it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from errata_client.records import Job
from errata_registry.jobs.live import Event, LiveJobs
from errata_registry.jobs.store import JobStore
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT
from redis import RedisError

from errata.errors import ErrataError
from errata_service.problems import Overloaded
from errata_service.streaming import KEEP_ALIVE_S, sse_event

# How long one read waits for news. Between two reads, jobs that are followed from now on join, and a stop is noticed.
READ_MS = 250
# Between two looks at the home folder, which tells of an end whose event was lost, also while Redis is away.
LOOK_S = 2.0
RETRY_S = 1.0
WOKEN_AT_ONCE = 20
SENT_AT_ONCE = 64  # events

log = logging.getLogger(__name__)


class _Told(NamedTuple):
    """An event as it is sent to each follower."""

    place: tuple[int, int]
    sent: bytes
    is_last: bool


class Feed:
    """What happens to one job, for all who follow it.

    Attributes:
        outcome: the job's record once it has ended.
        newest: id of the newest event that was read; None until the feed has begun.
        num_followers: how many follow it now.
    """

    def __init__(self, store: JobStore[Any, Any], job_id: str, stopping: threading.Event) -> None:
        """Begin to read. `stopping` is set once the service stops."""
        self.outcome: Job | None = None
        self.newest: str | None = None
        self.num_followers = 0
        self._store = store
        self._job_id = job_id
        self._stopping = stopping
        self._begins_behind = "0"
        self._told: list[_Told] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._beginning = asyncio.ensure_future(self._begin())
        self._reading_past: asyncio.Future[None] | None = None

    async def begun(self) -> None:
        """Wait until the feed has begun. Raises `UnknownJob`, `RedisError`."""
        await asyncio.shield(self._beginning)

    async def _begin(self) -> None:
        record = await run_in_threadpool(self._store.record, self._job_id)
        self.outcome = record if record.ended else None
        self.newest = self._begins_behind = await run_in_threadpool(self._store.live.newest_event, self._job_id)

    async def reach(self, after: str) -> None:
        """Read the events between the one with id `after` and the feed's beginning. Raises as `begun`."""
        if _place(after) < _place(self._begins_behind):
            if self._reading_past is None:
                self._reading_past = asyncio.ensure_future(self._read_past())
            await asyncio.shield(self._reading_past)

    async def _read_past(self) -> None:
        try:
            events = await run_in_threadpool(self._store.events, self._job_id)
        except BaseException:
            self._reading_past = None  # the next one tries again
            raise
        begins = _place(self._begins_behind)
        self._told[:0] = (told for told in _tell(events) if told.place <= begins)

    async def add(self, events: Sequence[Event]) -> None:
        """Take in what has happened since the newest event, and wake the followers."""
        self._told += _tell(events)
        self.newest = events[-1].id
        if end := next((event for event in events if event.is_last), None):
            self.outcome = self._store.kind.record.model_validate(end.data, extra="ignore")
        await self.wake()

    async def look(self) -> None:
        """See in the home folder whether the job has ended."""
        try:
            outcome = await asyncio.to_thread(self._store.outcome, self._job_id)
        except (ErrataError, OSError, RedisError) as error:
            log.warning("%s: whether it has ended cannot be seen: %s", self._job_id, error)
            return
        if outcome is not None:
            self.outcome = outcome
            await self.wake()

    async def wake(self) -> None:
        """Let the followers see what there is, a few at a time: between them, others have their turn."""
        waiting = list(self._waiting)
        for first in range(0, len(waiting), WOKEN_AT_ONCE):
            for follower in waiting[first : first + WOKEN_AT_ONCE]:
                if not follower.done():
                    follower.set_result(None)
            await asyncio.sleep(0)

    async def _woken(self) -> None:
        follower = asyncio.get_running_loop().create_future()
        self._waiting.add(follower)
        try:
            await follower
        finally:
            self._waiting.remove(follower)

    async def end(self) -> None:
        """Wait until the job has ended or the service stops."""
        while self.outcome is None and not self._stopping.is_set():
            await self._woken()

    async def events(self, after: str) -> AsyncIterator[bytes]:
        """Yield what happened and happens after the event with id `after`, which was reached, as server-sent events.

        Stop behind the job's end, which is told in any case: without an id where its event was lost. Stop, too, when
        the service stops.
        """
        place = _place(after)
        while not self._stopping.is_set():
            first = bisect_right(self._told, place, key=lambda told: told.place)
            if told := self._told[first : first + SENT_AT_ONCE]:
                yield b"".join(event.sent for event in told)
                place = told[-1].place
                if told[-1].is_last:
                    return
            elif self.outcome is not None:
                yield sse_event(self.outcome.model_dump_json(), "status")
                return
            else:
                try:
                    await asyncio.wait_for(self._woken(), KEEP_ALIVE_S)
                except TimeoutError:
                    yield KEEPALIVE_COMMENT


class Followers:
    """All who follow jobs in this process, and the feeds that they follow."""

    def __init__(self, live: LiveJobs, stopping: threading.Event, most: int) -> None:
        """`stopping` is set once the service stops. As many as `most` may follow at once."""
        self._live = live
        self._stopping = stopping
        self._most = most
        self._feeds: dict[str, Feed] = {}
        self._joined = asyncio.Event()

    def count(self) -> int:
        """Return how many follow jobs now."""
        return sum(feed.num_followers for feed in list(self._feeds.values()))

    @asynccontextmanager
    async def following(self, store: JobStore[Any, Any], job_id: str) -> AsyncIterator[Feed]:
        """Give the feed of a job while it is followed. Raises `UnknownJob`, `RedisError`, `Overloaded`."""
        store.folder.of(job_id)  # raises where it is the id of another kind
        if self.count() >= self._most:
            raise Overloaded(f"{self._most} clients follow jobs, and no more may; try again later")
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = Feed(store, job_id, self._stopping)
        feed.num_followers += 1
        try:
            await feed.begun()
            self._joined.set()
            yield feed
        finally:
            feed.num_followers -= 1
            if not feed.num_followers:
                del self._feeds[job_id]

    async def read(self) -> None:
        """Serve all who follow, until the service stops."""
        await asyncio.gather(self._until_stopped(self._read_news), self._until_stopped(self._look))

    async def _until_stopped(self, work: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            try:
                await work()
            except Exception as error:
                log.warning("jobs cannot be followed: %s", error, exc_info=not isinstance(error, RedisError))
                await asyncio.sleep(RETRY_S)
        for feed in list(self._feeds.values()):
            await feed.wake()

    async def _read_news(self) -> None:
        """Read once what has happened to all jobs that are followed and have not ended."""
        feeds = dict(self._feeds)
        after = {job_id: feed.newest for job_id, feed in feeds.items() if feed.newest and not feed.outcome}
        if not after:
            self._joined.clear()
            await self._joined.wait()
            return
        for job_id, events in (await asyncio.to_thread(self._live.news, after, READ_MS)).items():
            await feeds[job_id].add(events)

    async def _look(self) -> None:
        await asyncio.sleep(LOOK_S)
        for feed in [feed for feed in self._feeds.values() if feed.outcome is None]:
            await feed.look()


def _tell(events: Iterable[Event]) -> Iterator[_Told]:
    """Make of each event what is sent, up to the job's end."""
    for event in events:
        yield _Told(_place(event.id), sse_event(json.dumps(event.data), event.name, event.id), event.is_last)
        if event.is_last:
            return


def _place(event_id: str) -> tuple[int, int]:
    """Return what the ids of events are ordered by."""
    moment, _, number = event_id.partition("-")
    return int(moment), int(number or 0)
