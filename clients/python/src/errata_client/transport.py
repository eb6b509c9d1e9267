"""Sending: the only code that knows whether it runs synchronously or not.

What to send is in `routes`, what an answer means in `answers`, whether to try again in `retries`.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import httpx

from errata_client.answers import connection_errors, read_answer
from errata_client.downloads import Download
from errata_client.errors import ConnectionFailed, StatusError
from errata_client.event_streams import EventStream
from errata_client.events import EditEvents, Event
from errata_client.generation import GenerationEvent, GenerationEvents
from errata_client.models import Page, Record
from errata_client.retries import Attempts
from errata_client.routes import GenerationSettings, Request, page_after

T = TypeVar("T")
R = TypeVar("R", bound=Record)
E = TypeVar("E", bound=Record)

LONGEST_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the service is and how to speak with it. Raises `ValueError` for what cannot be used."""

    base_url: str
    api_key: str | None
    timeout: float
    max_retries: int

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with http:// or https://, got {self.base_url!r}")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("api_key holds a character that a header cannot carry")
        if self.timeout <= 0 or self.max_retries < 0:
            raise ValueError("timeout must be above 0 and max_retries not below 0")

    def httpx_options(self) -> dict[str, Any]:
        """What an httpx client is made with."""
        headers = {"User-Agent": f"errata-client/{version('errata-client')}", "Accept": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {"base_url": self.base_url, "headers": headers}

    def build(self, http: httpx.Client | httpx.AsyncClient, request: Request[Any]) -> httpx.Request:
        """The request in httpx's form."""
        timeout = httpx.Timeout(self.timeout + request.hold_s, connect=min(self.timeout, LONGEST_CONNECT_S))
        return http.build_request(
            request.method,
            request.path,
            params=dict(request.query),
            json=request.body,
            headers=dict(request.headers),
            timeout=timeout,
        )

    def attempts(self, request: Request[Any]) -> Attempts:
        """The tries that a request has."""
        return Attempts(repeatable=request.repeatable, max_retries=self.max_retries)


class Transport:
    """Sends requests and waits for their answers."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._http = httpx.Client(**connection.httpx_options())

    def close(self) -> None:
        self._http.close()

    def send(self, request: Request[T]) -> T:
        """The answer, after as many tries as are safe. Raises `ErrataError`."""
        attempts = self._connection.attempts(request)
        while True:
            try:
                with connection_errors():
                    response = self._http.send(self._connection.build(self._http, request))
                return read_answer(request, response)
            except (ConnectionFailed, StatusError) as error:
                pause = attempts.pause_after(error)
            time.sleep(pause)

    def succeeds(self, request: Request[Any]) -> bool:
        """Whether one try gets an answer of success."""
        try:
            with connection_errors():
                return self._http.send(self._connection.build(self._http, request)).is_success
        except ConnectionFailed:
            return False

    def items(self, first: Request[Page[R]]) -> Iterator[R]:
        """The items of a list, page after page as they are asked for."""
        request: Request[Page[R]] | None = first
        while request:
            page = self.send(request)
            yield from page.data
            request = page_after(request, page)

    def events(self, edit_id: str, last_event_id: str | None) -> Iterator[Event]:
        """The events of an edit until it ends, connecting again where the stream breaks off."""
        return self._follow(EditEvents(edit_id, last_event_id, self._connection.max_retries))

    def download(self, request: Request[None], to: str | PathLike[str]) -> Path:
        """Write the file that is answered, of the kind that is accepted, to `to`, piece by piece.

        Raises `ErrataError` and `OSError`.
        """
        with Download(to, request.headers["Accept"], self._connection.attempts(request)) as download:
            while True:
                try:
                    with connection_errors():
                        sent = self._connection.build(self._http, request)
                        with closing(self._http.send(sent, stream=True)) as response:
                            if not response.is_success:
                                response.read()
                            download.open(response)
                            for chunk in response.iter_bytes():
                                download.write(chunk)
                    return download.finish()
                except (ConnectionFailed, StatusError) as error:
                    pause = download.pause_after(error)
                time.sleep(pause)

    def stream(
        self, prompt: str | Sequence[str], settings: GenerationSettings
    ) -> Generator[GenerationEvent, None, None]:
        """The events of a generation until every prompt has ended."""
        return self._follow(GenerationEvents(prompt, settings, self._connection.max_retries))

    def _follow(self, stream: EventStream[E]) -> Generator[E, None, None]:
        """The events of a stream. Closed early, it closes the connection too."""
        while True:
            try:
                with connection_errors():
                    request = self._connection.build(self._http, stream.request())
                    with closing(self._http.send(request, stream=True)) as response:
                        if not response.is_success:
                            response.read()
                        stream.open(response)
                        for chunk in response.iter_bytes():
                            yield from stream.feed(chunk)
                            if stream.ended:
                                return
                raise stream.broken_off()
            except (ConnectionFailed, StatusError) as error:
                pause = stream.pause_after(error)
            time.sleep(pause)


class AsyncTransport:
    """The same for asyncio."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._http = httpx.AsyncClient(**connection.httpx_options())

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, request: Request[T]) -> T:
        attempts = self._connection.attempts(request)
        while True:
            try:
                with connection_errors():
                    response = await self._http.send(self._connection.build(self._http, request))
                return read_answer(request, response)
            except (ConnectionFailed, StatusError) as error:
                pause = attempts.pause_after(error)
            await asyncio.sleep(pause)

    async def succeeds(self, request: Request[Any]) -> bool:
        try:
            with connection_errors():
                return (await self._http.send(self._connection.build(self._http, request))).is_success
        except ConnectionFailed:
            return False

    async def items(self, first: Request[Page[R]]) -> AsyncIterator[R]:
        request: Request[Page[R]] | None = first
        while request:
            page = await self.send(request)
            for item in page.data:
                yield item
            request = page_after(request, page)

    def events(self, edit_id: str, last_event_id: str | None) -> AsyncIterator[Event]:
        return self._follow(EditEvents(edit_id, last_event_id, self._connection.max_retries))

    async def download(self, request: Request[None], to: str | PathLike[str]) -> Path:
        with Download(to, request.headers["Accept"], self._connection.attempts(request)) as download:
            while True:
                try:
                    with connection_errors():
                        sent = self._connection.build(self._http, request)
                        async with aclosing(await self._http.send(sent, stream=True)) as response:
                            if not response.is_success:
                                await response.aread()
                            download.open(response)
                            async for chunk in response.aiter_bytes():
                                await asyncio.to_thread(download.write, chunk)
                    return await asyncio.to_thread(download.finish)
                except (ConnectionFailed, StatusError) as error:
                    pause = download.pause_after(error)
                await asyncio.sleep(pause)

    def stream(
        self, prompt: str | Sequence[str], settings: GenerationSettings
    ) -> AsyncGenerator[GenerationEvent, None]:
        return self._follow(GenerationEvents(prompt, settings, self._connection.max_retries))

    async def _follow(self, stream: EventStream[E]) -> AsyncGenerator[E, None]:
        while True:
            try:
                with connection_errors():
                    request = self._connection.build(self._http, stream.request())
                    async with aclosing(await self._http.send(request, stream=True)) as response:
                        if not response.is_success:
                            await response.aread()
                        stream.open(response)
                        async for chunk in response.aiter_bytes():
                            for event in stream.feed(chunk):
                                yield event
                            if stream.ended:
                                return
                raise stream.broken_off()
            except (ConnectionFailed, StatusError) as error:
                pause = stream.pause_after(error)
            await asyncio.sleep(pause)
