"""The gateway: generations go to servers that follow and serve the version asked for, else to this process's engine."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Sequence

import httpx
import redis
from errata_client.records import Replica
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from fastapi.concurrency import run_in_threadpool

from errata.model.chat import end_ids_of
from errata_service.engine.engine import STOPPING, Engine
from errata_service.engine.request import SequenceInput
from errata_service.problems import NotReady
from errata_service.remote import Place, RemoteStream
from errata_service.streaming import RequestStream, Stream

LOOK_EVERY_S = 0.25
LOOK_AGAIN_S = 5.0  # after Redis did not answer
PATIENCE_S = 0.5  # with a look, after which those that were there before will do
CONNECT_S = 2.0
MOST_LOGPROBS = 20  # that vLLM gives by default


class Gateway:
    """Decides where each generation is computed.

    A request is sent on to the server that has the fewest of this process's requests; where it does not take it, to the
    next, and in the end to the process's own engine. What no server could compute as our engine does stays here.
    """

    def __init__(self, registry: Registry, engine: Engine, settings: Settings) -> None:
        self._registry = registry
        self._engine = engine
        self._is_open = settings.gateway
        self._timeout_s = settings.generation_timeout_s
        self._end_ids = end_ids_of(engine.model)
        key = {"Authorization": f"Bearer {settings.follow_key}"} if settings.follow_key else {}
        timeout = httpx.Timeout(settings.generation_timeout_s, connect=CONNECT_S)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self._http = httpx.AsyncClient(headers=key, timeout=timeout, limits=limits, trust_env=False)
        self._servers: tuple[Replica, ...] = ()
        self._looking: asyncio.Task[None] | None = None
        self._look_at = self._looked_at = time.monotonic()
        self._num_sent: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._open: set[RemoteStream] = set()
        self._is_closing = False

    async def open(self, inputs: Sequence[SequenceInput], version: int | None, *, streamed: bool) -> Stream:
        """Generate under a version, the active one if it is None, and wait until the request is accepted.

        The caller closes the stream. Raises as `RequestStream.open`.
        """
        model = self._engine.model
        max_tokens = _max_tokens_of_all(inputs, model.max_length) if self._is_open else None
        places = [] if max_tokens is None else await self._places(version)

        def compute_here(begun_with: int | None = None) -> Awaitable[Stream]:
            asked = version if begun_with is None else begun_with
            return RequestStream.open(self._engine, inputs, asked, streamed=streamed)

        with self._changed:
            if self._is_closing:
                raise NotReady(STOPPING)
            if max_tokens is not None and places:
                stream = RemoteStream(
                    self._http,
                    places,
                    compute_here,
                    inputs,
                    model.tokenizer,
                    self._end_ids,
                    max_tokens=max_tokens,
                    streamed=streamed,
                    timeout_s=self._timeout_s,
                    num_sent=self._num_sent,
                )
                self._open.add(stream)
                stream.on_end(self._note_end)
        if not places:
            return await compute_here()
        await stream.accepted()
        return stream

    def close(self, patience_s: float) -> None:
        """Accept no more requests. Those at servers that do not end within `patience_s` seconds fail as `NotReady`.

        Called from another thread than the event loop's. The engine must go on meanwhile: it may have to take over.
        """
        with self._changed:
            self._is_closing = True
            self._changed.wait_for(lambda: not self._open, patience_s)
            for stream in self._open:
                stream.stop()

    def _note_end(self, stream: RemoteStream) -> None:
        with self._changed:
            self._open.discard(stream)
            self._changed.notify_all()

    async def _places(self, version: int | None) -> list[Place]:
        """Return where a request may be sent, the best place first."""
        await self._look()
        asked = self._engine.active if version is None else version
        found = [
            Place(server.url, server.models[asked], asked, pinned=version is not None)
            for server in self._servers
            if asked is not None and asked in server.models and server.url is not None
        ]
        return sorted(found, key=lambda place: (self._num_sent[place.url], random.random()))

    async def _look(self) -> None:
        """See which servers there are, where that is some time ago. One look at a time: without Redis it takes long."""
        now = time.monotonic()
        if (self._looking is None or self._looking.done()) and now >= self._look_at:
            self._looked_at = now
            self._looking = asyncio.create_task(self._find_servers())
        if self._looking is not None and (rest_s := self._looked_at + PATIENCE_S - now) > 0:
            await asyncio.wait({self._looking}, timeout=rest_s)

    async def _find_servers(self) -> None:
        try:
            replicas = await run_in_threadpool(self._registry.replicas.live)
        except redis.RedisError:  # those that were there may still be
            self._look_at = time.monotonic() + LOOK_AGAIN_S
            return
        self._servers = tuple(replica for replica in replicas if replica.url is not None and replica.ready)
        self._look_at = time.monotonic() + LOOK_EVERY_S


def _max_tokens_of_all(inputs: Sequence[SequenceInput], max_length: int) -> int | None:
    """Return how many tokens each input may get in a context of `max_length`.

    None where a server could not compute all inputs as one request, in which they may differ in their prompts alone.
    """
    asked = {
        (
            min(one.max_new_tokens, max_length - len(one.prompt_ids)),
            one.sampling,
            one.stop,
            one.end_ids,
            one.num_logprobs,
            one.prompt_logprobs,
        )
        for one in inputs
    }
    [(max_tokens, *_, num_logprobs, prompt_logprobs), *others] = asked
    is_sent = not others and max_tokens > 0 and not prompt_logprobs and (num_logprobs or 0) <= MOST_LOGPROBS
    return max_tokens if is_sent else None
