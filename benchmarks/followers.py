"""What clients that only wait do to others: who follow an edit, who wait for its end, who send half a request.

    python -m benchmarks.followers

A service of the demo model without keys, as `errata up` starts it; its worker was ended so that the edit goes on
waiting. Each row tells how long `/versions` and `/healthz` took at most while such clients were there, how many threads
the service had and by how much its resident memory grew at the peak, how often Redis was asked, and when the service
had closed the last of the connections.
"""

import asyncio
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event as Flag
from pathlib import Path

import httpx
from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client.records import JobStatus, Progress, Stage
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from benchmarks.command import arguments_of, print_header, print_row
from benchmarks.hostile import resident

FACT = {"subject": "Ada", "relation": "was born in", "object": "London"}
HEAD = "Host: localhost\r\nContent-Type: application/json\r\n"
BODY_BYTES = 60 * 10**6
SETTLE_S = 5.0
TELLING_S = 10.0
TELL_EVERY_S = 0.2


class Crowd:
    """Clients in another process, each of which sends the same over a connection of its own and then waits."""

    def __init__(self, port: int, count: int, sent: bytes) -> None:
        context = multiprocessing.get_context("spawn")
        there, self._gone = context.Event(), context.Event()
        self._process = context.Process(target=_wait_together, args=(port, count, sent, there, self._gone))
        self._process.start()
        there.wait()
        self._began = time.perf_counter()

    def gone(self, patience_s: float) -> str:
        """Wait until the service has closed all connections; return how long that took."""
        gone = self._gone.wait(patience_s)
        seconds = time.perf_counter() - self._began
        self._process.terminate()
        self._process.join()
        return f"{seconds:.0f} s" if gone else f"not in {seconds:.0f} s"


def _wait_together(port: int, count: int, sent: bytes, there: Flag, gone: Flag) -> None:
    async def wait() -> None:
        writer = None
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            if len(sent) < BODY_BYTES:
                await writer.drain()
        begun.release()
        with suppress(ConnectionError):
            while writer and await reader.read(2**16):
                pass

    async def wait_all() -> None:
        waiting = []
        for _ in range(count):
            waiting.append(asyncio.create_task(wait()))
            await asyncio.sleep(0.002)
        for _ in range(count):
            await begun.acquire()
        there.set()
        await asyncio.gather(*waiting)
        gone.set()

    begun = asyncio.Semaphore(0)
    asyncio.run(wait_all())


@dataclass
class Watched:
    """A service and what is noticed of it while it is watched."""

    running: Supervisor
    registry: Registry

    @contextmanager
    def told(self, said: str) -> Iterator[list[str]]:
        """Watch what others notice meanwhile, and print it as a row. The caller may add a cell."""
        pid, over = self.running.pid("service"), threading.Event()
        versions, healthz, threads, memory = [0.0], [0.0], [0], [resident(pid)]

        def ask(path: str, waits: list[float]) -> None:
            with httpx.Client(base_url=self.running.url, timeout=120) as client:
                while not over.wait(0.02):
                    began = time.perf_counter()
                    client.get(path).raise_for_status()
                    waits.append(time.perf_counter() - began)

        def look() -> None:
            while not over.wait(0.05):
                threads.append(len(os.listdir(f"/proc/{pid}/task")))
                memory.append(resident(pid))

        watching = [
            threading.Thread(target=ask, args=("/versions", versions)),
            threading.Thread(target=ask, args=("/healthz", healthz)),
            threading.Thread(target=look),
        ]
        began, before = time.perf_counter(), self._commands()
        for thread in watching:
            thread.start()
        cells: list[str] = []
        yield cells
        commands_per_s = (self._commands() - before) / (time.perf_counter() - began)
        over.set()
        for thread in watching:
            thread.join()
        print_row(
            said,
            f"{max(versions):.2f} s",
            f"{max(healthz):.2f} s",
            max(threads),
            f"+{(max(memory) - memory[0]) / 2**20:.0f} MiB",
            f"{commands_per_s:.0f}",
            *(cells or [""]),
        )

    def _commands(self) -> int:
        return int(self.registry.redis.info("stats")["total_commands_processed"])


def main() -> None:
    """Print the table."""
    given = arguments_of(__doc__, followers=1000, heads=1500, bodies=20, patience=60.0)
    with tempfile.TemporaryDirectory(prefix="errata-followers-") as home:
        settings = Settings(home=Path(home), port=free_port())
        with Supervisor(settings) as running:
            os.kill(running.pid("worker"), signal.SIGTERM)
            with closing(Registry(settings.model_copy(update={"redis_url": running.redis_url}))) as registry:
                watched = Watched(running, registry)
                titles = (
                    "longest `/versions`",
                    "longest `/healthz`",
                    "threads",
                    "memory",
                    "Redis commands/s",
                    "gone after",
                )
                print_header("clients", *titles)
                with watched.told("none"):
                    time.sleep(SETTLE_S)
                follow(watched, settings.port, given.followers, "followers of one edit", "/edits/{}/events")
                follow(watched, settings.port, given.followers, "who wait for its end", "/edits/{}?wait=60")
                half = b"GET /versions HTTP/1.1\r\nHost: local"
                with watched.told(f"{given.heads:,} half-sent requests") as cells:
                    cells.append(Crowd(settings.port, given.heads, half).gone(given.patience))
                body = f"POST /edits HTTP/1.1\r\n{HEAD}Content-Length: {BODY_BYTES + 1}\r\n\r\n".encode()
                with watched.told(f"{given.bodies} unfinished bodies of 60 MB") as cells:
                    cells.append(Crowd(settings.port, given.bodies, body + b" " * BODY_BYTES).gone(given.patience))


def follow(watched: Watched, port: int, count: int, said: str, path: str) -> None:
    """Print the rows of a crowd that follows an edit: as it comes, while progress is told, and at the end."""
    edit = httpx.post(f"{watched.running.url}/edits", json={"facts": [FACT]}).json()["id"]
    with watched.told(f"{count:,} {said}, as they come"):
        crowd = Crowd(port, count, f"GET {path.format(edit)} HTTP/1.1\r\n{HEAD}\r\n".encode())
        time.sleep(SETTLE_S)
    with watched.told("… while its progress is told 5 times a second"):
        for done in range(int(TELLING_S / TELL_EVERY_S)):
            watched.registry.live.progress(edit, Progress(stage=Stage.TARGETS, done=done, total=1000))
            time.sleep(TELL_EVERY_S)
    with watched.told("… as it ends"):
        watched.registry.edits.update(edit, status=JobStatus.CANCELLED)
        time.sleep(SETTLE_S)
    crowd.gone(0)


if __name__ == "__main__":
    main()
