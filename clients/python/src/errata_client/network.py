"""All that takes time: sending, reading, sleeping and writing. Blocking and with asyncio, only this differs."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import ParamSpec, TypeAlias, TypeVar

import httpx

P = ParamSpec("P")
T = TypeVar("T")


class BlockingNetwork:
    """Connections to a service. They block where those for asyncio wait: a coroutine over them never suspends."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self.http = httpx.Client(base_url=base_url, headers=headers, verify=_speaks_tls(base_url))

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the answer once its head is there."""
        return self.http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> bytes:
        """Read the whole content of an answer."""
        return response.read()

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Yield the content of an answer piece by piece."""
        for chunk in response.iter_bytes():
            yield chunk

    async def release(self, response: httpx.Response) -> None:
        """Be done with an answer. Hang up where it was not read to its end."""
        response.close()

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what waits for a disk."""
        return function(*args, **kwargs)

    async def close(self) -> None:
        """Close the connections."""
        self.http.close()


class AsyncNetwork:
    """The same for asyncio."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self.http = httpx.AsyncClient(base_url=base_url, headers=headers, verify=_speaks_tls(base_url))

    async def send(self, request: httpx.Request) -> httpx.Response:
        return await self.http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> bytes:
        return await response.aread()

    def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        return response.aiter_bytes()

    async def release(self, response: httpx.Response) -> None:
        await response.aclose()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(function, *args, **kwargs)

    async def close(self) -> None:
        await self.http.aclose()


def _speaks_tls(base_url: str) -> bool:
    """Return True where certificates are to be checked. Reading those to trust takes time, so nothing else does."""
    return base_url.lower().startswith("https://")


Network: TypeAlias = BlockingNetwork | AsyncNetwork
