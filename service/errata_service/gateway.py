"""The gateway: generations go to servers that follow and serve the version asked for, else to this process's engine."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence

import httpx
import redis
from errata_client.records import Replica
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from fastapi.concurrency import run_in_threadpool

from errata.model.chat import end_ids_of
from errata_service.engine.engine import Engine
from errata_service.engine.request import SequenceInput
from errata_service.remote import NobodyComputes, Place, RemoteStream
from errata_service.streaming import RequestStream, Stream

LOOK_EVERY_S = 0.25
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
        self._looked_at = -LOOK_EVERY_S
        self._num_sent: Counter[str] = Counter()

    async def open(self, inputs: Sequence[SequenceInput], version: int | None, *, streamed: bool) -> Stream:
        """Generate under a version, the active one if it is None, and wait until the request is accepted.

        The caller closes the stream. Raises as `RequestStream.open`.
        """
        model = self._engine.model
        max_tokens = _max_tokens_of_all(inputs, model.max_length) if self._is_open else None
        if max_tokens is not None and (places := await self._places(version)):
            stream = RemoteStream(
                self._http,
                places,
                inputs,
                model.tokenizer,
                self._end_ids,
                max_tokens=max_tokens,
                streamed=streamed,
                timeout_s=self._timeout_s,
                num_sent=self._num_sent,
            )
            try:
                await stream.accepted()
                return stream
            except NobodyComputes:
                pass
        return await RequestStream.open(self._engine, inputs, version, streamed=streamed)

    async def _places(self, version: int | None) -> list[Place]:
        """Return where a request may be sent, the best place first."""
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._servers = await run_in_threadpool(self._live_servers)
        active = self._engine.active
        found = []
        for server in self._servers:
            asked = version if version is not None else active if active in server.models else server.version
            if asked in server.models and server.url is not None:
                found.append(Place(server.url, server.models[asked], asked, pinned=version is not None))
        return sorted(found, key=lambda place: (place.version != active, self._num_sent[place.url], random.random()))

    def _live_servers(self) -> tuple[Replica, ...]:
        try:
            replicas = self._registry.replicas.live()
        except redis.RedisError:  # those that were there may still be
            return self._servers
        return tuple(replica for replica in replicas if replica.url is not None and replica.ready)


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
