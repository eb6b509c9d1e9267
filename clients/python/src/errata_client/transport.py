"""Sending requests over a network, and reading their answers: whole, item by item or piece by piece."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import httpx

from errata_client.downloads import Download
from errata_client.errors import ConnectionFailed, StatusError
from errata_client.network import Network
from errata_client.records import Page
from errata_client.requests import Request, page_after
from errata_client.responses import check_kind, check_status, connection_errors, read_answer
from errata_client.retries import Attempts

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
LONGEST_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the service is and how to speak with it. Raises `ValueError` for what cannot be used."""

    base_url: str
    api_key: str | None
    timeout: float
    max_retries: int

    def __post_init__(self) -> None:
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("api_key holds a character that a header cannot carry")
        if self.timeout <= 0 or self.max_retries < 0:
            raise ValueError("timeout must be above 0 and max_retries not below 0")

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        headers = {"User-Agent": f"errata-client/{version('errata-client')}"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers


def url_of_service(given: str) -> str:
    """Return a URL in full; `localhost:8000` is one to people. Raises `ValueError` for what is none."""
    url = given if "://" in given else f"http://{given}"
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{given!r} is no URL of a service: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"{given!r} is no URL of a service, such as {DEFAULT_URL}")
    return url


class Transport:
    """Sends requests and reads their answers. Every method may raise `ErrataError`."""

    def __init__(self, connection: Connection, network_type: type[Network]) -> None:
        self._connection = connection
        self.network: Network = network_type(connection.base_url, connection.headers())

    async def send(self, request: Request[T]) -> T:
        """Return the answer, after as many tries as are safe."""
        attempts = self.attempts(request)
        while True:
            try:
                return read_answer(request, await self._response(request))
            except (ConnectionFailed, StatusError) as error:
                await attempts.pause_after(error)

    async def succeeds(self, path: str) -> bool:
        """Return True if one try gets an answer of success."""
        try:
            return (await self._response(Request(path=path, answer=object))).is_success
        except ConnectionFailed:
            return False

    async def items(self, first: Request[Page[T]]) -> AsyncGenerator[T, None]:
        """Yield the items of a list, page after page as they are asked for."""
        request: Request[Page[T]] | None = first
        while request:
            page = await self.send(request)
            for item in page.data:
                yield item
            request = page_after(request, page)

    async def download(self, request: Request[Any], to: str | PathLike[str]) -> Path:
        """Write the file that is answered to `to`, piece by piece. Raises `OSError`, too."""
        attempts = self.attempts(request)
        with Download(to) as download:
            while True:
                try:
                    async with self.open(request) as response:
                        async for chunk in self.network.chunks(response):
                            await self.network.in_thread(download.write, chunk)
                    return await self.network.in_thread(download.finish)
                except (ConnectionFailed, StatusError) as error:
                    if download.begun:
                        raise
                    await attempts.pause_after(error)

    @asynccontextmanager
    async def open(self, request: Request[Any]) -> AsyncIterator[httpx.Response]:
        """Send a request once, and give its answer for its content to be read from the network in pieces."""
        with connection_errors():
            response = await self.network.send(self._build(request))
            try:
                if not response.is_success:
                    await self.network.read(response)
                check_status(response)
                check_kind(request, response)
                yield response
            finally:
                await self.network.release(response)

    def attempts(self, request: Request[Any]) -> Attempts:
        """Return the tries that a request has."""
        max_retries = self._connection.max_retries
        return Attempts(self.network.sleep, repeatable=request.repeatable, max_retries=max_retries)

    async def _response(self, request: Request[Any]) -> httpx.Response:
        with connection_errors():
            response = await self.network.send(self._build(request))
            try:
                await self.network.read(response)
            finally:
                await self.network.release(response)
        return response

    def _build(self, request: Request[Any]) -> httpx.Request:
        patience = self._connection.timeout
        return self.network.http.build_request(
            request.method,
            request.path,
            params=dict(request.query),
            json=request.body,
            headers={"Accept": request.accepts, **request.headers},
            timeout=httpx.Timeout(patience + request.hold_s, connect=min(patience, LONGEST_CONNECT_S)),
        )
