"""Fixtures: the peer, and a way to run one test with both clients."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from operator import attrgetter
from typing import Any

import pytest
from errata_client import AsyncErrata, Errata

from tests.client.peer import Call, Peer


def call_sync(url: str, method: str, args: Any, then: str | None, client: Any, options: Any) -> Any:
    with Errata(url, **client) as errata:
        if then is None:
            result = attrgetter(method)(errata)(*args, **options)
        else:
            result = getattr(attrgetter(method)(errata)(*args), then)(**options)
        return list(result) if isinstance(result, Iterator) else result


def call_async(url: str, method: str, args: Any, then: str | None, client: Any, options: Any) -> Any:
    async def call() -> Any:
        async with AsyncErrata(url, **client) as errata:
            if then is None:
                result = attrgetter(method)(errata)(*args, **options)
            else:
                result = getattr(await attrgetter(method)(errata)(*args), then)(**options)
            return [item async for item in result] if isinstance(result, AsyncIterator) else await result

    return asyncio.run(call())


@pytest.fixture
def silent_peer() -> Iterator[Peer]:
    """A peer that does not listen yet."""
    peer = Peer()
    yield peer
    peer.stop()


@pytest.fixture
def peer(silent_peer: Peer) -> Peer:
    silent_peer.listen()
    return silent_peer


@pytest.fixture(params=[call_sync, call_async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest, silent_peer: Peer) -> Call:
    """Every test that takes this runs with `Errata` and with `AsyncErrata`."""

    def call(method: str, *args: Any, then: str | None = None, client: Mapping[str, Any] = {}, **options: Any) -> Any:
        return request.param(silent_peer.url, method, args, then, client, options)

    return call


@pytest.fixture
def edit_body() -> dict[str, Any]:
    """An edit as the service answers it, just queued."""
    return {
        "id": "edit_1",
        "object": "edit",
        "status": "queued",
        "facts": 1,
        "method": "memit",
        "attempts": 0,
        "created_at": "2026-01-01T00:00:00Z",
    }
