"""Clients' connections: how many there may be, and how long one may keep the service waiting.

uvicorn speaks HTTP over them, and waits for ever for what a client has begun to send. Here a connection is closed whose
client does not complete the head of a request in time, goes on sending a body that was answered already, or takes
nothing of its answer. `bodies` bounds the time that a body takes which is read.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from dataclasses import dataclass, field
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from errata_service.problems import Overloaded, answer

# What is answered on any connection, so that a service that is full does not count as dead.
ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
# Only who has kept the service waiting for so long makes room for others.
SILENT_S = 1.0
# A client may take nothing of its answer for so many times as long as it may be silent.
STALLED = 3
OTHER_FILES = 256
_BOUNDS = "bounds of connections"

log = logging.getLogger(__name__)


@dataclass
class Bounds:
    """What the connections of one server share.

    Attributes:
        most: how many may be busy with a request; to requests beyond, little is answered.
        patience_s: how long a client may take for the head of a request.
        open: how many there are.
        owing: connections whose clients have something to complete, and since when; who began first comes first.
    """

    most: int
    patience_s: float
    open: int = 0
    owing: dict[Connection, float] = field(default_factory=dict)

    @property
    def are_exceeded(self) -> bool:
        """Return True if more connections are busy than may be. Those that owe something are only waited for."""
        return self.open - len(self.owing) > self.most


class Connection(H11Protocol):
    """A connection that is closed when its client keeps it waiting."""

    def __init__(self, *given: Any, bounds: Bounds, **options: Any) -> None:
        super().__init__(*given, **options)
        self._bounds = bounds
        self._closing: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, _BOUNDS: self._bounds}
        self._bounds.open += 1
        if self._bounds.open > self._bounds.most:
            self._close_oldest_owing()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._bounds.open -= 1
        self._rest()
        self.resume_writing()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED * self._bounds.patience_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    @property
    def _owes(self) -> bool:
        """Return True while the client has to complete the head of a request or a body that nobody reads any more, or
        to take the rest of its last answer."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        is_late_with_body = is_answered and self.conn.their_state is h11.SEND_BODY
        return self.conn.their_state is h11.IDLE or is_late_with_body or self.transport.is_closing()

    def _watch(self) -> None:
        """Let the time run while the client has something to complete; what it sends meanwhile gives it no more."""
        if not self._owes:
            self._rest()
        elif self._closing is None:
            self._closing = self.loop.call_later(self._bounds.patience_s, self.transport.abort)
            self._bounds.owing[self] = self.loop.time()

    def _rest(self) -> None:
        self._bounds.owing.pop(self, None)
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def _close_oldest_owing(self) -> None:
        """Close the connection that has kept the service waiting longest, if it has for a while."""
        oldest, since = next(iter(self._bounds.owing.items()), (None, 0.0))
        if oldest is not None and self.loop.time() - since >= SILENT_S:
            oldest._rest()
            oldest.transport.abort()


class RefuseBeyond:
    """Answers 503 while more connections are busy than may be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        bounds: Bounds | None = scope.get("state", {}).get(_BOUNDS)
        if bounds is not None and bounds.are_exceeded and scope["path"] not in ALWAYS_ANSWERED:
            app = answer(Overloaded("as many connections are busy as may; try again later"), scope["path"])
        await app(scope, receive, send)


def room_for(connections: int) -> int:
    """Let this process have as many files open as it takes for so many connections; return how many there can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < needed:
        log.warning("%d files may be open at once, which is too few for %d connections", allowed, connections)
    return min(connections, max(allowed - OTHER_FILES, allowed // 2))
