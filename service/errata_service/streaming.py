"""Events from the engine's thread to the event loop, and from there to clients as server-sent events."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import closing, suppress

from fastapi import Request, Response
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from errata_service.engine.engine import Engine
from errata_service.engine.events import Event, Failed, Finished
from errata_service.engine.request import SequenceInput
from errata_service.generation_span import GenerationSpan

CLIENT_CLOSED_REQUEST = 499
KEEP_ALIVE_S = 15.0


class KeepAlive:
    """Comes every `KEEP_ALIVE_S` seconds, so that nobody takes a long silence for a lost connection."""


class Stream(ABC):
    """The events of one request, in order, wherever it is computed."""

    def __init__(self, num_sequences: int, *, streamed: bool) -> None:
        self._num_sequences = num_sequences
        self._streamed = streamed
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event | KeepAlive] = asyncio.Queue()
        self._timer: asyncio.TimerHandle | None = None
        self._span: GenerationSpan | None = None

    @property
    @abstractmethod
    def version(self) -> int:
        """The version under which the request is computed, known once it is accepted."""

    def close(self) -> None:
        """Cancel what has not finished."""
        if self._timer is not None:
            self._timer.cancel()
        if self._span is not None:
            self._span.end()

    def belong_to(self, span: GenerationSpan) -> None:
        """Note in a span how it goes on; the stream is accepted, and the span ends when it is closed."""
        self._span = span
        span.accept(self.version)

    async def accepted(self) -> None:
        """Wait until the request is accepted. Raises what it fails with; it is closed then."""
        try:
            await self._next()
        except BaseException:
            self.close()
            raise

    async def events(self) -> AsyncIterator[Event | KeepAlive]:
        """Yield events until all sequences have finished. Raises what the request fails with."""
        num_unfinished = self._num_sequences
        if self._streamed:
            self._start_timer()
        while num_unfinished:
            event = await self._next()
            num_unfinished -= isinstance(event, Finished)
            yield event

    async def finished(self) -> list[Finished]:
        """Wait for all sequences; return their ends in the order of the inputs."""
        ended = [event async for event in self.events() if isinstance(event, Finished)]
        return sorted(ended, key=lambda event: event.index)

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(KEEP_ALIVE_S, self._keep_alive)

    def _keep_alive(self) -> None:
        self._events.put_nowait(KeepAlive())
        self._start_timer()

    async def _next(self) -> Event | KeepAlive:
        event = await self._events.get()
        if isinstance(event, Failed):
            if self._span is not None:
                self._span.fail(event.error)
            raise event.error
        if isinstance(event, Finished) and self._span is not None:
            self._span.note(event)
        return event

    def _put(self, events: Sequence[Event]) -> None:
        for event in events:
            self._events.put_nowait(event)


class RequestStream(Stream):
    """The events of one request to the engine of this process."""

    def __init__(self, engine: Engine, inputs: Sequence[SequenceInput], version: int | None, *, streamed: bool) -> None:
        """Submit a request. Raises as `Engine.submit`."""
        super().__init__(len(inputs), streamed=streamed)
        self._engine = engine
        self._request = engine.submit(inputs, version, self._deliver, streamed=streamed)

    @classmethod
    async def open(
        cls, engine: Engine, inputs: Sequence[SequenceInput], version: int | None, *, streamed: bool
    ) -> RequestStream:
        """Submit a request and wait until it is accepted. The caller closes the stream.

        Raises what `Engine.submit` raises, and what the request fails with, for example an unknown version.
        """
        stream = cls(engine, inputs, version, streamed=streamed)
        await stream.accepted()
        return stream

    @property
    def version(self) -> int:
        return self._request.version

    def close(self) -> None:
        self._engine.cancel(self._request)
        super().close()

    def _deliver(self, events: Sequence[Event]) -> None:
        with suppress(RuntimeError):  # the event loop has ended, and nobody is left to tell
            self._loop.call_soon_threadsafe(self._put, events)


async def finished_unless_gone(stream: Stream, http: Request) -> list[Finished] | Response:
    """Wait for all sequences; return a response that nobody will read if the client disconnects before."""
    work = asyncio.ensure_future(stream.finished())
    gone = asyncio.ensure_future(_disconnect(http))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else Response(status_code=CLIENT_CLOSED_REQUEST)
    finally:
        work.cancel()
        gone.cancel()


async def _disconnect(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


class ServerSentEvents(StreamingResponse):
    """Server-sent events, which are bytes already."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        # A proxy that buffers the answer would undo the streaming.
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


class EventStreamResponse(ServerSentEvents):
    """Server-sent events made from a request's stream, which is closed at the end or when the client disconnects."""

    def __init__(self, events: AsyncIterator[bytes], stream: Stream) -> None:
        super().__init__(events)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._stream):
            await super().__call__(scope, receive, send)


def sse_event(data: str, event: str | None = None, event_id: str | None = None) -> bytes:
    """Return one event whose data is JSON already."""
    return format_sse_event(data_str=data, event=event, id=event_id)
