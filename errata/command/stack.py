"""The processes of one home: Redis (unless one is named), a worker and the service."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from types import FrameType, TracebackType

import httpx
import redis

from errata.command.embedded_redis import start_embedded_redis
from errata.command.processes import free_port, is_taken, last_lines, start, stop
from errata.registry.registry import Registry
from errata.settings import Settings

START_PATIENCE_S = 600.0  # a large model takes minutes to load
STOP_PATIENCE_S = 15.0
RESTART_PAUSE_S = 2.0


class StackError(Exception):
    """A process could not be started, or ended by itself while it was starting."""


def environment(settings: Settings) -> dict[str, str]:
    """The settings as the environment variables that a child process reads them from."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {f"ERRATA_{name.upper()}": str(value) for name, value in values.items()}


class Stack:
    """Starts the processes on entry, and ends every one of them on exit."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._processes: dict[str, Popen[bytes]] = {}

    def __enter__(self) -> Stack:
        """Start everything and return when the service is ready and a worker has loaded its model.

        Raises:
            StackError: the port is taken, or a process ended; says what its log said last.
        """
        settings = self._settings
        if is_taken(settings.host, settings.port):
            raise StackError(f"{settings.host}:{settings.port} is taken; choose another with --port")
        try:
            if settings.redis_url is None:
                port = free_port()
                self._settings = settings = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{port}/0"})
                self._processes["redis"] = start_embedded_redis(settings.home / "redis", port, self._log("redis"))
                self._wait_for("redis", self._redis_answers)
            for name in ("worker", "service"):
                self._start(name)
            self._wait_for("service", self._service_is_ready)
            self._wait_for("worker", self._worker_is_ready)
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
        return f"http://{self._settings.host}:{self._settings.port}"

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

    def _start(self, name: str) -> None:
        command = [sys.executable, "-m", name]
        self._processes[name] = start(command, environment=environment(self._settings), log=self._log(name))

    def _stop_all(self) -> None:
        for name in ("service", "worker", "redis"):  # Redis last: the others still write to it
            if name in self._processes:
                stop(self._processes[name], STOP_PATIENCE_S)

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
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _worker_is_ready(self) -> bool:
        return Registry(self._settings).workers() > 0

    def _log(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"


def run_until_interrupted(settings: Settings) -> None:
    """`errata up`: serve until Ctrl-C or SIGTERM, then end every process."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with SIGINT ignored
        signal.signal(number, _interrupt)
    print(f"errata: starting model {settings.model} with its data in {settings.home} …", flush=True)
    with Stack(settings) as stack:
        print(f"errata: serving at {stack.url} (OpenAPI at {stack.url}/docs); logs in {stack.log_folder}")
        print("errata: Ctrl-C ends it", flush=True)
        try:
            stack.watch()
        except KeyboardInterrupt:
            print("\nerrata: stopping …", flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
