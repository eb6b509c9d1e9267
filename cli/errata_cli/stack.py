"""The processes of one home: Redis (unless one is named), a worker and the service."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import Popen
from types import FrameType, TracebackType
from typing import IO

import httpx
import redis
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from errata_cli.embedded_redis import start_embedded_redis
from errata_cli.processes import free_port, is_taken, last_lines, start, stop

START_PATIENCE_S = 600.0  # a large model takes minutes to load
STOP_PATIENCE_S = 20.0  # longer than a service drains (`drain_s`)
RESTART_PAUSE_S = 2.0

# Threads that wait for each other give their core away after a moment: where the worker and the service are both busy
# on the cores that one of them would fill, each is three times as fast as with threads that wait in a loop. The moment,
# some microseconds, is longer than most waits of a process that has the cores to itself: without it, that one would
# take nearly twice as long for a step.
SHARED_CORES = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}


class StackError(Exception):
    """The processes cannot be started here, or one ended by itself while it was starting."""


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a worker or a service: this process's, and the settings as variables."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {**SHARED_CORES, **os.environ, **{f"ERRATA_{name.upper()}": str(value) for name, value in values.items()}}


class Stack:
    """Starts the processes on entry, and ends every one of them on exit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._processes: dict[str, Popen[bytes]] = {}
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Stack:
        """Start everything and return when the service is ready and a worker has loaded its model.

        Raises:
            StackError: the port is taken, the home is in use, or a process ended; says what its log said last.
        """
        settings = self._settings
        if settings.port == 0:
            raise StackError("port 0, which would be any, is not possible here; name one with --port")
        if is_taken(settings.host, settings.port):
            raise StackError(f"{settings.host}:{settings.port} is taken; choose another with --port")
        self._lock = _lock(settings.home)
        try:
            if settings.redis_url is None:
                self._start_redis()
                self._wait_for("redis", self._redis_answers)
            for name in ("worker", "service"):
                self._start(name)
            self._wait_for("service", self._service_is_ready)
            with closing(Registry(self._settings)) as registry:
                self._wait_for("worker", lambda: registry.workers() > 0)
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
        """Where the service answers."""
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"

    @property
    def redis_url(self) -> str:
        """Where Redis answers: the one that was named, or the one that was started."""
        return str(self._settings.redis_url)

    @property
    def log_folder(self) -> Path:
        """Where the processes write their logs."""
        return self._settings.home / "logs"

    def pid(self, name: str) -> int:
        """Process id of `redis`, `worker` or `service`."""
        return self._processes[name].pid

    def watch(self) -> None:
        """Start again what ends by itself; returns only by an exception such as KeyboardInterrupt."""
        while True:
            time.sleep(RESTART_PAUSE_S)
            self.revive()

    def revive(self) -> None:
        """Start the worker or the service again where it has ended.

        Raises:
            StackError: Redis ended; nothing goes on without it.
        """
        for name, process in self._processes.items():
            if process.poll() is None:
                continue
            if name == "redis":
                raise StackError(f"Redis ended with {process.returncode}:\n{last_lines(self._log(name))}")
            print(f"errata: the {name} ended with {process.returncode}; starting it again", file=sys.stderr)
            self._start(name)

    def _start_redis(self) -> None:
        assert self._lock is not None
        # It holds the lock as well: should this process be killed, no second server gets at its file before it ends.
        self._processes["redis"], url = start_embedded_redis(
            self._settings.home / "redis", free_port(), self._log("redis"), keep_open=[self._lock.fileno()]
        )
        self._settings = self._settings.model_copy(update={"redis_url": f"{url}/0"})

    def _start(self, name: str) -> None:
        command = [sys.executable, "-m", "errata_cli.under_parent", str(os.getpid()), f"errata_{name}"]
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
                raise StackError(f"the {name} ended with {ended}; its log says:\n{last_lines(self._log(name))}")
            if time.monotonic() > deadline:
                raise StackError(f"the {name} was not ready in {START_PATIENCE_S:.0f} s; see {self._log(name)}")
            time.sleep(0.1)

    def _redis_answers(self) -> bool:
        try:
            with redis.Redis.from_url(str(self._settings.redis_url)) as connection:
                return bool(connection.ping())
        except redis.ConnectionError:
            return False

    def _service_is_ready(self) -> bool:
        try:
            # A proxy that is named in the environment does not lead here.
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _log(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"


def run_until_interrupted(settings: Settings) -> None:
    """`errata up`: serve until Ctrl-C or SIGTERM, then end every process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, _interrupt)
    print(f"errata: starting model {settings.model} with its data in {settings.home} …", flush=True)
    with Stack(settings) as stack:
        try:
            print(f"errata: serving at {stack.url} (OpenAPI at {stack.url}/docs); logs in {stack.log_folder}")
            print("errata: Ctrl-C ends it", flush=True)
            stack.watch()
        except KeyboardInterrupt:
            print("\nerrata: stopping …", flush=True)


def _lock(home: Path) -> IO[bytes]:
    """Take hold of a home folder, until the file is closed here and in every process that inherits it."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "up.lock"
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise StackError(f"{path} is held: the processes of another `errata up` on this home still run") from None
    return file


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no second Ctrl-C, and no SIGTERM, break off what is done here."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
