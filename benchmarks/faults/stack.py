"""The processes of the campaign: a Redis behind proxies, workers and services, on one home folder, or on one bucket.

Each can be killed, stopped and started again. What they keep is read past the proxies, through a registry.
"""

import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Self

from errata_cli.embedded_redis import start_embedded_redis
from errata_cli.processes import Running, environment, free_port, last_lines, start, stop
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from redis import RedisError

from benchmarks.faults import clock, disk
from benchmarks.faults.api import Answer, Api
from benchmarks.faults.bucket import BucketServer
from benchmarks.faults.clock import Clock
from benchmarks.faults.edits import Facts, SentEdit
from benchmarks.faults.proxy import Proxy
from errata.facts import Fact

START_PATIENCE_S = 240.0
STOP_PATIENCE_S = 20.0
REDIS_PATIENCE_S = 30.0
BUSY_PATIENCE_S = 6.0
UNFINISHED = ("queued", "running")


class Stack:
    """Starts everything on entry, and ends it on exit. The processes are `redis`, `worker1`, `service1` and so on.

    Attributes:
        bucket: the server of the bucket that the processes share in place of a home folder.
        limit_s: the time that it has to recover in.
        has_small_disk: whether the home is on a disk that can be filled and made read-only.
        clock: the clock of workers and services, where it can be moved.
        proxies: what a `service` and a `worker` reach Redis through.
        processes: the latest process of each name.
        registry: what the home folder and Redis hold.
        facts: what can be edited in.
        sent: every edit that was sent, in this order.
        seen: what was seen to be wrong in between, for whoever tells of it.
    """

    def __init__(
        self,
        root: Path,
        workers: int = 2,
        limit_s: float = 60.0,
        *,
        with_machine: bool = False,
        bucket: BucketServer | None = None,
    ) -> None:
        """`with_machine` gives it a small disk and a clock, where this machine can."""
        self.bucket = bucket
        if bucket:
            os.environ.update(bucket.past_the_network)  # for the registry
        self.root, self.home, self.redis_folder, self.limit_s = root, root / "home", root / "redis", limit_s
        self.home.mkdir(parents=True)
        self.has_small_disk = with_machine and disk.mount(self.home)
        self.clock = Clock(root / "clock") if with_machine and clock.library() else None
        self.workers = [f"worker{number}" for number in range(1, workers + 1)]
        self.services = ["service1", "service2"]
        self._ports = {name: free_port() for name in ("redis", *self.services)}
        self._password = secrets.token_hex(32)
        self.proxies = {kind: Proxy(self._ports["redis"]) for kind in ("service", "worker")}
        self.processes: dict[str, Running] = {}
        self.api = Api(self._ports)
        self.registry = Registry(self._settings(self._ports["redis"]))
        self.redis = self.registry.redis
        self.facts = Facts()
        self.sent: list[SentEdit] = []
        self.seen: list[str] = []
        self._numbers = count()

    def __enter__(self) -> Self:
        try:
            for name in ("redis", *self.workers, *self.services):
                self.start(name)
            assert not (obstacles := self.converge(START_PATIENCE_S)), obstacles
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        for name in reversed(self.processes):  # Redis last
            self.signal(name, signal.SIGCONT)
            stop(self.processes[name], STOP_PATIENCE_S)
        self.api.close()
        self.registry.close()
        for proxy in self.proxies.values():
            proxy.close()
        if self.has_small_disk:
            shutil.copytree(self.home, self.root / "home-as-it-was")
            disk.unmount(self.home)

    # Processes

    def start(self, name: str, own_clock: Clock | None = None) -> None:
        """Start a process, Redis until it answers; with a clock of its own where one is given."""
        log = self.root / "logs" / f"{name}.log"
        if name == "redis":
            port = self._ports[name]
            self.processes[name], _ = start_embedded_redis(self.redis_folder, port, log, password=self._password)
            assert any(self.registry.ping() for _ in tries(REDIS_PATIENCE_S)), last_lines(log)
            return
        kind = name.rstrip("0123456789")
        settings = self._settings(self.proxies[kind].port, port=self._ports.get(name, 0))
        if self.bucket:
            settings = settings.model_copy(update={"home": self.root / f"home-of-{name}"})
        its_clock = own_clock or self.clock
        told = {**environment(settings), "OMP_NUM_THREADS": "1", **(its_clock.environment if its_clock else {})}
        told |= self.bucket.environment if self.bucket else {}
        self.processes[name] = self.start_module(f"errata_{kind}", told, log)

    def start_module(self, module: str, told: Mapping[str, str], log: Path) -> Running:
        """Start a worker or a service, which is told all by its environment."""
        return start([sys.executable, "-m", module], environment=told, log=log)

    def _settings(self, port_of_redis: int, **more: Any) -> Settings:
        url = f"redis://:{self._password}@127.0.0.1:{port_of_redis}/0"
        bucket = "s3://errata/home" if self.bucket else None
        return Settings(home=self.home, redis_url=url, bucket=bucket, **more)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a process a signal, unless it has ended."""
        if self.processes[name].poll() is None:
            self.processes[name].send_signal(number)

    def kill(self, *names: str) -> None:
        """Kill processes in this order, with nothing done in between."""
        for name in names:
            self.signal(name, signal.SIGKILL)
        for name in names:
            self.processes[name].wait()

    def revive(self) -> list[str]:
        """Start what has ended again, as a supervisor would, Redis first; return the names."""
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        for name in ended:
            self.start(name)
        return ended

    # Edits

    def new_edit(
        self, facts: Sequence[Fact], *, keyed: bool = False, retract: Sequence[str] = (), **options: Any
    ) -> SentEdit:
        """Note an edit that is to be sent."""
        note = f"edit {next(self._numbers)}"
        edit = SentEdit(note, facts, retract, f"key of {note}" if keyed else None, options)
        self.sent.append(edit)
        return edit

    def outcome(self, edit_id: str, patience_s: float = 60.0) -> Answer:
        """Wait until an edit has ended, or so many seconds; return how it stands."""
        for _ in tries(patience_s):
            answer = self.api.ask(self.services[0], f"GET /edits/{edit_id}?wait=10")
            if answer.ok and answer["status"] not in UNFINISHED:
                break
        return answer

    def active(self) -> int:
        """Return the version that the journal says is active."""
        self.registry.commits.catch_up()
        return self.registry.activations.active()

    # Recovery

    def wait_until_busy(self, rng: Random, patience_s: float = BUSY_PATIENCE_S) -> bool:
        """Wait until a worker has an edit in hand, and a moment more; return False where none has in time."""
        is_busy = any(self.registry.queue.whereabouts().held for _ in tries(patience_s))
        time.sleep(rng.uniform(0, 1.2))
        return is_busy

    def converge(self, limit_s: float | None = None, sent: Iterable[SentEdit] = ()) -> list[str]:
        """Wait until all is well again: every process is there, every replica serves the active version, every edit
        has ended, and the services say so of those `sent`. Return what stands in the way when the time is over."""
        for _ in tries(self.limit_s if limit_s is None else limit_s, every_s=0.5):
            if not (obstacles := self._obstacles(sent)):
                break
        return obstacles

    def _obstacles(self, sent: Iterable[SentEdit]) -> list[str]:
        registry, active = self.registry, self.active()
        if ended := self.revive():
            self.seen += [f"x {name} ended by itself, and was started again" for name in ended]
            return [f"{name} begins" for name in ended]
        ready = {service: self.api.ask(service, "GET /readyz", patience_s=20) for service in self.services}
        found = [
            f"{service} says {answer}, and {active} is active"
            for service, answer in ready.items()
            if not answer.ok or answer["version"] != active
        ]
        try:
            served = [replica.version for replica in registry.replicas.live()]
            if served != [active] * len(self.services):
                found.append(f"the replicas serve {served}, and {active} is active")
            if (workers := registry.queue.num_workers()) < len(self.workers):
                found.append(f"{workers} of {len(self.workers)} workers are there")
        except RedisError as error:
            found.append(f"Redis: {error}")
        found += [f"{edit_id} has not ended" for edit_id in registry.edits.folder.unfinished()]
        if not found:
            routes = [f"GET /edits/{edit_id}" for edit in sent for edit_id in edit.ids[:1]]
            answers = [self.api.ask(self.services[0], route) for route in routes]
            found = [f"{one.route}: {one}" for one in answers if not one.ok or one["status"] in UNFINISHED]
        return found


def tries(patience_s: float, every_s: float = 0.1) -> Iterator[None]:
    """Yield once and, with pauses in between, again and again for so many seconds."""
    deadline = time.monotonic() + patience_s
    yield
    while time.monotonic() < deadline:
        time.sleep(every_s)
        yield
