"""From the engine's thread to the event loop: following a submission until it ends, or until its client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress

from fastapi import Request, Response
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from errata_service.engine.engine import Engine
from errata_service.engine.tasks import Event, Failed, Finished, Task

CLIENT_CLOSED_REQUEST = 499
QUIET_S = 15.0


class Quiet:
    """Now and then, so that nobody takes a long silence for a lost connection."""


class Following:
    """The events of one submission, in order."""

    def __init__(self, engine: Engine, tasks: Sequence[Task], version: int | None, *, streamed: bool) -> None:
        """Submit tasks. Raises as `Engine.submit`."""
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | Quiet] = asyncio.Queue()
        self._reminder: asyncio.TimerHandle | None = None
        self._submission = engine.submit(tasks, version, self._deliver, streamed=streamed)

    @classmethod
    async def begin(cls, engine: Engine, tasks: Sequence[Task], version: int | None, *, streamed: bool) -> Following:
        """Submit tasks and wait until they are accepted; whoever has it closes it.

        Raises what `Engine.submit` raises, and what the submission fails with: its version cannot be loaded, say.
        """
        following = cls(engine, tasks, version, streamed=streamed)
        try:
            await following._next()
        except BaseException:
            following.close()
            raise
        return following

    @property
    def version(self) -> int:
        """The version under which all of it is computed."""
        return self._submission.version

    def close(self) -> None:
        """Let the engine drop what has not ended."""
        self._engine.cancel(self._submission)
        if self._reminder is not None:
            self._reminder.cancel()

    async def events(self) -> AsyncIterator[Event | Quiet]:
        """What follows, until all tasks have finished. Raises what the submission fails with."""
        unfinished = len(self._submission.tasks)
        if self._submission.streamed:
            self._remind_later()
        while unfinished:
            event = await self._next()
            unfinished -= isinstance(event, Finished)
            yield event

    async def finished(self) -> list[Finished]:
        """How the tasks ended, in their order."""
        ended = [event async for event in self.events() if isinstance(event, Finished)]
        return sorted(ended, key=lambda event: event.index)

    def _remind_later(self) -> None:
        self._reminder = self._loop.call_later(QUIET_S, self._remind)

    def _remind(self) -> None:
        self._events.put_nowait(Quiet())
        self._remind_later()

    async def _next(self) -> Event | Quiet:
        event = await self._events.get()
        if isinstance(event, Failed):
            raise event.error
        return event

    def _deliver(self, events: Sequence[Event]) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and nobody is left to be told
            self._loop.call_soon_threadsafe(self._take, events)

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            self._events.put_nowait(event)


async def finished_unless_gone(following: Following, request: Request) -> list[Finished] | Response:
    """How the tasks ended; a response that nobody will read where the client went away before."""
    work = asyncio.ensure_future(following.finished())
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else Response(status_code=CLIENT_CLOSED_REQUEST)
    finally:
        work.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class EventStream(StreamingResponse):
    """Server-sent events made of a submission, which ends when the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], following: Following) -> None:
        # A proxy that collects the answer before it passes it on would undo the streaming.
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._following = following

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._following):
            await super().__call__(scope, receive, send)


def server_sent(data: str, event: str | None = None) -> bytes:
    """One event, of data that is JSON already."""
    return format_sse_event(data_str=data, event=event)
