"""Starts Redis (unless one is named), a worker and the service of one home folder, and looks after them."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import httpx
import redis
from errata_registry.home import keep_private
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from errata_cli.embedded_redis import start_embedded_redis
from errata_cli.errors import CommandError
from errata_cli.processes import Running, environment, free_port, keep_small, last_lines, start, stop

START_PATIENCE_S = 600.0  # a large model takes minutes to load
STOP_PATIENCE_S = 20.0  # longer than a service drains (`drain_s`)
RESTART_PAUSE_S = 2.0
LOG_BYTES = 64 * 2**20
LAST_WORDS = ("error: ", "errata worker: ")  # what a service or a worker begins its last line with


class Supervisor:
    """Starts the processes on entry, and ends every one of them on exit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._processes: dict[str, Running] = {}
        self._lock: IO[bytes] | None = None
        self._written_before: dict[str, int] = {}  # bytes of each log

    def __enter__(self) -> Self:
        """Start everything and return when the service is ready and a worker has loaded its model.

        Raises:
            CommandError: the home is in use, or a process ended; says what its log said last.
        """
        settings = self._settings
        self._lock = lock(settings.home)
        self._written_before = {log.stem: log.stat().st_size for log in self.log_folder.glob("*.log")}
        try:
            if settings.redis_url is None:
                self._start_redis()
                self._wait_for("redis", self._redis_answers)
            for name in ("worker", "service"):
                self._start(name)
            self._wait_for("service", self._service_is_ready)
            with closing(Registry(self._settings)) as registry:
                self._wait_for("worker", lambda: registry.queue.num_workers() > 0)
        except BaseException:
            self._stop_all()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_all()

    @property
    def url(self) -> str:
        """URL of the service."""
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"

    @property
    def redis_url(self) -> str:
        """URL of Redis: the one that was named, or the one that was started."""
        return str(self._settings.redis_url)

    @property
    def log_folder(self) -> Path:
        """Folder of the processes' logs."""
        return self._settings.home / "logs"

    def passed_over(self) -> str | None:
        """Say which version should serve and why it cannot, where another serves in its place."""
        ready = self._readiness() or {}
        if "should_serve" not in ready:
            return None
        return f"version {ready['version']} serves in place of version {ready['should_serve']}: {ready['reason']}"

    def pid(self, name: str) -> int:
        """Return the process id of `redis`, `worker` or `service`."""
        return self._processes[name].pid

    def watch(self) -> None:
        """Restart what ends by itself, until an exception such as KeyboardInterrupt."""
        while True:
            time.sleep(RESTART_PAUSE_S)
            self.revive()

    def revive(self) -> None:
        """Restart the worker or the service if it has ended, and keep the logs small.

        Raises:
            CommandError: Redis ended; nothing goes on without it.
        """
        for name, process in self._processes.items():
            keep_small(self._log(name), LOG_BYTES)
            if (ended := process.poll()) is None:
                continue
            if name == "redis":
                raise CommandError(f"Redis ended with {ended}: {self._last_words(name)}")
            print(f"errata: the {name} ended with {ended}; starting it again", file=sys.stderr)
            self._start(name)

    def _start_redis(self) -> None:
        assert self._lock is not None
        # It holds the lock as well: should this process be killed, no second server gets at its file before it ends.
        self._processes["redis"], url = start_embedded_redis(
            self._settings.home / "redis", free_port(), self._log("redis"), keep_open=[self._lock.fileno()]
        )
        self._settings = self._settings.model_copy(update={"redis_url": f"{url}/0"})

    def _start(self, name: str) -> None:
        command = [sys.executable, "-m", "errata_cli.parent_watchdog", str(os.getpid()), f"errata_{name}"]
        self._processes[name] = start(command, environment=environment(self._settings), log=self._log(name))

    def _stop_all(self) -> None:
        with _undisturbed():
            for name in ("service", "worker", "redis"):  # Redis last: the others still write to it
                if name in self._processes:
                    stop(self._processes[name], STOP_PATIENCE_S)
            if self._lock is not None:
                self._lock.close()

    def _wait_for(self, name: str, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_PATIENCE_S
        while not is_ready():
            ended = self._processes[name].poll() if name in self._processes else None
            if ended is not None:
                raise CommandError(f"the {name} ended with {ended}: {self._last_words(name)}")
            if time.monotonic() > deadline:
                raise CommandError(f"the {name} was not ready in {START_PATIENCE_S:.0f} s; see {self._log(name)}")
            time.sleep(0.1)

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis.from_url(str(self._settings.redis_url)) as connection:
                return bool(connection.ping())
        except redis.ConnectionError:
            return False

    def _service_is_ready(self) -> bool:
        return self._readiness() is not None

    def _readiness(self) -> dict[str, Any] | None:
        try:
            # A proxy that is named in the environment does not lead here. Without TLS there is nothing to verify; to
            # get ready for that takes longer than the rest of a question.
            answer = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False, verify=False)
        except httpx.TransportError:
            return None
        return answer.json() if answer.status_code == httpx.codes.OK else None

    def _last_words(self, name: str) -> str:
        """Return the sentence that a process ended with, or the end of its log where it had none."""
        lines = last_lines(self._log(name), since=self._written_before.get(name, 0))
        for line in reversed(lines.splitlines()):
            if line.startswith(LAST_WORDS):
                return f"{line.partition(': ')[2]} (log: {self._log(name)})"
        return f"{self._log(name)} says last:\n{lines}"

    def _log(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"


def lock(home: Path) -> IO[bytes]:
    """Lock a home folder until the file is closed, here and in every process that inherits it.

    Raises `CommandError` where another `errata up` runs on it.
    """
    keep_private(home)
    path = home / "up.lock"
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CommandError(f"{path} is held: the processes of another `errata up` on this home still run") from None
    return file


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM meanwhile."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
