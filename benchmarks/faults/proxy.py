"""A network that fails: a proxy on the loopback that holds back, severs, delays or silently loses what it carries, or
the answers alone, and a server of HTTP behind it that is too busy to answer."""

import asyncio
import random
import threading

BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """A proxy, in a thread of its own, in front of a port of the loopback.

    Attributes:
        port: where it listens.
        delay_s: the time that a piece of data takes on average.
        loses_answers: whether what is asked goes through, and the connection is cut where the answer comes.
        longest_answers: how many bytes of answers a connection carries before it is cut; None cuts none.
        is_busy: whether what is asked is answered by 503 and goes no further.
        replaces: what stands in questions, and what is to stand there instead, as long.
    """

    def __init__(self, target: int) -> None:
        self.delay_s = 0.0
        self.loses_answers = self.is_busy = False
        self.longest_answers: int | None = None
        self.replaces = b"", b""
        self._target = target
        self._age = 0  # connections of an earlier age are forgotten
        self._writers: set[asyncio.StreamWriter] = set()
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(listening)), daemon=True)
        self._thread.start()
        listening.wait()

    async def _run(self, listening: threading.Event) -> None:
        self._loop, self._open, self._ended = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0, backlog=500)
        self.port: int = server.sockets[0].getsockname()[1]
        listening.set()
        await self._ended.wait()
        server.close()
        self._sever()

    def close(self) -> None:
        """Listen no more."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def hold_back(self) -> None:
        """Carry nothing until `heal`; connections are accepted and stay open."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def heal(self, sever: bool = False) -> None:
        """Carry everything again at once: deliver what was held back, or sever the connections that wait for it."""
        self.delay_s = 0.0
        self.loses_answers = self.is_busy = False
        self.longest_answers = None
        self.replaces = b"", b""
        if sever:
            self._loop.call_soon_threadsafe(self._sever)
        self._loop.call_soon_threadsafe(self._open.set)

    def forget(self) -> None:
        """Keep the connections that are there open and carry nothing on them any more, as a firewall does that lost
        its state. New ones are well."""
        self._age += 1

    def _sever(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        age, ends = self._age, [writer]
        self._writers.add(writer)
        try:
            await self._open.wait()
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(other_writer)
            self._writers.add(other_writer)
            await asyncio.gather(
                self._pump(reader, other_writer, age, asking=writer), self._pump(other_reader, writer, age)
            )
        except (OSError, asyncio.CancelledError):  # severed, or closed
            pass
        finally:
            self._writers.difference_update(ends)
            for end in ends:
                end.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        age: int,
        asking: asyncio.StreamWriter | None = None,
    ) -> None:
        """Carry data one way; `asking` leads back to the client where these are questions."""
        carried = 0  # bytes
        while data := await reader.read(65536):
            carried += len(data)
            if asking and self.is_busy:
                asking.write(BUSY)
                await asking.drain()
                raise ConnectionResetError
            if not asking and (self.loses_answers or carried > (self.longest_answers or carried)):
                raise ConnectionResetError
            if asking and self.replaces[0]:
                data = data.replace(*self.replaces)
            if self.delay_s:
                await asyncio.sleep(self.delay_s * random.uniform(0.5, 1.5))
            await self._open.wait()
            if age == self._age:
                writer.write(data)
                await writer.drain()
        if age != self._age:
            await self._ended.wait()  # the other end hears nothing of it
        raise ConnectionResetError
