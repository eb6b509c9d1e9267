"""The servers that a gateway passes generations on to: which are there, how much each has to do, which were lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass

import redis
from errata_client.records import Replica
from errata_registry.registry import Registry
from fastapi.concurrency import run_in_threadpool

from errata_service.problems import Busy

LOOK_EVERY_S = 0.25
LOOK_AGAIN_S = 5.0  # after Redis did not answer
PATIENCE_S = 0.5  # with a look, after which those that were there before will do
LOST_S = 10.0  # after which a server that was lost is tried with a request again


@dataclass(frozen=True, slots=True)
class Place:
    """A server that may compute a request: its URL, and what it calls the version that is asked for.

    Attributes:
        version: the one that is asked for there.
        pinned: whether no other will do.
    """

    url: str
    model: str
    version: int
    pinned: bool


class Servers:
    """What one process knows of the servers. Used in the event loop alone: nothing changes between two awaits."""

    def __init__(self, registry: Registry, most_prompts: int) -> None:
        """`most_prompts` of this process may be at one server; more than that, if it has nothing else of ours."""
        self._registry = registry
        self._most_prompts = most_prompts
        self._known: tuple[Replica, ...] = ()
        self._looking: asyncio.Task[None] | None = None
        self._look_at = self._looked_at = time.monotonic()
        self._num_prompts: Counter[str] = Counter()
        self._lost_at: dict[str, float] = {}

    @property
    def num_prompts(self) -> int:
        """Number of this process's prompts that all servers compute."""
        return self._num_prompts.total()

    async def places(self, version: int, num_prompts: int, *, pinned: bool) -> list[Place]:
        """Return where prompts may be sent, the best place first: none where no server serves the version.

        Raises `Busy` where those that do have as much to do as they may.
        """
        await self._look()
        found = [
            Place(server.url, server.models[version], version, pinned)
            for server in self._known
            if version in server.models and server.url is not None and not self._is_lost(server.url)
        ]
        with_room = [place for place in found if self.has_room(place, num_prompts)]
        if found and not with_room:
            raise Busy(f"each server has {self._most_prompts} prompts of this service, or would have; try again later")
        return sorted(with_room, key=lambda place: (self._num_prompts[place.url], random.random()))

    def has_room(self, place: Place, num_prompts: int) -> bool:
        """Return True if a server may be sent so many prompts now."""
        at_work = self._num_prompts[place.url]
        return not at_work or at_work + num_prompts <= self._most_prompts

    def add_prompts(self, place: Place, num_prompts: int) -> None:
        """Note that a server computes so many prompts more, or fewer."""
        self._num_prompts[place.url] += num_prompts

    def note_lost(self, place: Place) -> None:
        """Send no more to a server for a while, and then one request at a time until it says something."""
        self._lost_at[place.url] = time.monotonic()

    def note_alive(self, place: Place) -> None:
        """Note that a server says something."""
        self._lost_at.pop(place.url, None)

    def _is_lost(self, url: str) -> bool:
        lost_at = self._lost_at.get(url)
        return lost_at is not None and (time.monotonic() - lost_at < LOST_S or self._num_prompts[url] > 0)

    async def _look(self) -> None:
        """See which servers there are, where that is some time ago. One look at a time: without Redis it takes long."""
        now = time.monotonic()
        if (self._looking is None or self._looking.done()) and now >= self._look_at:
            self._looked_at = now
            self._looking = asyncio.create_task(self._find())
        if self._looking is not None and (rest_s := self._looked_at + PATIENCE_S - now) > 0:
            await asyncio.wait({self._looking}, timeout=rest_s)

    async def _find(self) -> None:
        try:
            replicas = await run_in_threadpool(self._registry.replicas.live)
        except redis.RedisError:  # those that were there may still be
            self._look_at = time.monotonic() + LOOK_AGAIN_S
            return
        self._known = tuple(replica for replica in replicas if replica.url is not None and replica.ready)
        self._look_at = time.monotonic() + LOOK_EVERY_S
