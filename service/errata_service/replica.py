"""A serving replica: loads the model, follows activations, and announces the version that it serves."""

import gc
import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import redis
import torch
from errata_client.records import BASE_VERSION, Replica
from errata_registry.home import require_writable
from errata_registry.jobs.recovery import recover
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.versions.names import ACTIVE, VersionName

from errata import hyperparameters
from errata.checkpoint.folder import read_config
from errata.errors import CorruptArtifact
from errata.model import EditableModel
from errata_service.chat import ChatTemplate, no_chat_template
from errata_service.engine.engine import STOPPING, Engine
from errata_service.following import RETRY_S, Following, PassedOver, Swap
from errata_service.gateway import Gateway
from errata_service.metrics import Metrics
from errata_service.problems import NotReady, Overloaded, outage_of

LOOK_EVERY_S = 1.0
ACTIVATING_AT_ONCE = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a replica finds around it: what takes no edit and no activation now, and how many workers take edits."""

    outages: tuple[str, ...]
    num_workers: int


class ServingReplica:
    """The engine of this process and the threads around it.

    The serving thread loads the model and the active version. It then follows the activations: it loads each newly
    active version, switches to it and announces it. The heartbeat thread announces the served version at intervals,
    even while another version is loaded. The house-keeping thread keeps the registry in order.

    Attributes:
        id: name of this replica, new at each start.
        settings: the settings of the process.
        registry: shared by the process's threads.
        defaults: what each method edits this model with by default, and what that rests on.
        hyperparameters: the records of `defaults`.
        metrics: metrics of this process.
        failure: why the replica can never serve.
        draining: set once new generations are refused and accepted ones are completed.
        stopping: set once the process is about to end.
    """

    def __init__(self, settings: Settings, on_failure: Callable[[], None]) -> None:
        """Connect to the registry. `on_failure` is called from another thread once `failure` is set.

        Raises:
            ValueError: no Redis is named.
            InvalidHyperparameters: the settings' file of hyperparameters cannot be used.
            ModelError: the model is not found.
        """
        self.id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.settings = settings
        self.registry = Registry(settings)
        self.defaults = hyperparameters.known_for(settings.model, settings.hyperparameters, read_config(settings.model))
        self.hyperparameters = {method: default.hyperparameters for method, default in self.defaults.items()}
        self.metrics = Metrics()
        self.metrics.watch_work(self.registry)
        self.failure: Exception | None = None
        self._on_failure = on_failure
        self._engine: Engine | None = None
        self._gateway: Gateway | None = None
        self._chat: ChatTemplate | None = None
        self._obstacle: str | None = "the model is being loaded"
        self._following: Following | None = None
        self._activating = threading.BoundedSemaphore(ACTIVATING_AT_ONCE)
        self._looking = threading.Lock()
        self._looked_at = -math.inf
        self._surroundings = Surroundings(outages=(), num_workers=0)
        self.draining = threading.Event()
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def engine(self) -> Engine:
        """Return the engine. Raises `NotReady` until there is one."""
        if self._engine is None:
            raise NotReady(self._obstacle or "the service is starting")
        return self._engine

    @property
    def gateway(self) -> Gateway:
        """Return what decides where generations are computed. Raises `NotReady` as `engine`."""
        if self._gateway is None:
            raise NotReady(self._obstacle or "the service is starting")
        return self._gateway

    @property
    def chat(self) -> ChatTemplate:
        """Return the model's chat template. Raises `NotReady` as `engine`, and `ProblemError` where there is none."""
        model = self.engine.model
        if self._chat is None:
            raise no_chat_template(model.name)
        return self._chat

    @property
    def has_chat_template(self) -> bool | None:
        """Return True if the model has a chat template; None while it is being loaded."""
        return None if self._engine is None else self._chat is not None

    @property
    def obstacle(self) -> str | None:
        """Return why this replica is not ready; None if it is.

        It is ready, too, while it serves another version because the active one cannot be served (`passed_over`).
        """
        if self.failure is not None:
            return str(self.failure)
        if self.draining.is_set():
            return STOPPING
        following = self._following
        if following is None:
            return self._obstacle
        if following.lost_track is not None:
            return following.lost_track
        return (following.obstacle or self._obstacle) if self.engine.active is None else None

    @property
    def passed_over(self) -> PassedOver | None:
        """The active version, while it cannot be served."""
        return None if self._following is None else self._following.passed_over

    @property
    def news_age_s(self) -> float:
        """Seconds since this replica last looked up which version is to be served."""
        assert self._following is not None, "asked of a replica that serves"
        return self._following.news_age_s

    @contextmanager
    def activating(self) -> Iterator[None]:
        """Hold one of the few places of those who activate a version, and wait in a thread until all replicas follow.

        Raises `Overloaded` where all are taken.
        """
        if not self._activating.acquire(blocking=False):
            raise Overloaded("as many activations wait for replicas as may; try again later")
        try:
            yield
        finally:
            self._activating.release()

    def surroundings(self) -> Surroundings:
        """Look at what changes nothing of what is served, but whether edits are taken and made.

        Whoever asks often is told what was found less than `LOOK_EVERY_S` seconds ago.

        Raises:
            redis.ConnectionError, redis.TimeoutError: Redis does not answer.
        """
        with self._looking:
            if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
                require: tuple[Callable[[], None], ...] = (
                    self.registry.activations.require_redis,
                    partial(require_writable, self.settings.home),
                )
                found = [*map(_outage_in, require), self._following.outage if self._following else None]
                outages = tuple(filter(None, found))
                self._surroundings = Surroundings(outages, self.registry.queue.num_workers())
                self._looked_at = time.monotonic()
            return self._surroundings

    def version_asked(self, version: VersionName | None) -> int | None:
        """Resolve a version's name to its number. None stands for the active version and stays None.

        Raises:
            UnknownVersion: the version does not exist. (The weights of one that was deleted may still be in memory. The
                active version and the base cannot be deleted.)
            UnknownAlias: no version has that name.
        """
        if version is None or version == ACTIVE:
            return None
        if (number := self.registry.versions.number(version)) != BASE_VERSION:
            self.registry.artifacts.existing(number)
        return number

    def start(self) -> None:
        """Start the threads and return at once."""
        self._begin(self._serve, "serving")

    def drain(self) -> None:
        """Refuse new generations, and wait for accepted ones. Those that take over `settings.drain_s` seconds fail."""
        self.draining.set()
        deadline = time.monotonic() + self.settings.drain_s
        if self._gateway is not None:
            self._gateway.close(self.settings.drain_s)
        if self._engine is not None:
            self._engine.close(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """End the threads, fail what is being generated, and withdraw from the registry."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()
        if self._engine is not None:
            self._engine.close()
        try:
            self.registry.replicas.withdraw(self.id)
        except redis.RedisError as error:
            log.warning("this replica could not be withdrawn: %s", error)
        self.registry.close()

    def _begin(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        try:
            self._bring_up()
        except Exception as error:
            self._fail(error)
            return
        if not self.stopping.is_set():
            self._following = Following(self.registry, self.engine, self._describe, self.stopping)
            self._begin(self._keep_house, "house-keeping")
            self._begin(self._following.send_heartbeats, "heartbeats")
            self._following.run()

    def _fail(self, error: Exception) -> None:
        """End the process, which nothing but a new one can follow."""
        if self.failure is None:
            log.critical("this process cannot go on: %s", error)
            self.failure = error
            self._on_failure()

    def _bring_up(self) -> None:
        """Wait for Redis, load the model, bind it to the home folder and start the engine."""
        settings, registry = self.settings, self.registry
        while not registry.ping():
            self._obstacle = "Redis does not answer"
            if self.stopping.wait(RETRY_S):
                return
        self._obstacle = "the model is being loaded"
        model = EditableModel.load(settings.model, dtype=getattr(torch, settings.dtype), device=settings.device)
        registry.bind_base(model.name, model.digest, model.matrix_shapes, model.matrix_values)
        self._chat = ChatTemplate.of(model)
        self._recover_once()
        # What exists now stays. Searching it for garbage would stop every thread for a fifth of a second.
        gc.freeze()
        self._obstacle = "the active version is being loaded"
        self._engine = Engine(
            model,
            lambda version: registry.versions.load_deltas(version, model.digest),
            settings,
            self.metrics,
            self._fail,
        )
        self._gateway = Gateway(registry, self._engine, settings, self.metrics)

    def _recover_once(self) -> None:
        """Put the registry in order as soon as Redis answers. Raises `Conflict`."""
        while not self.stopping.is_set():
            try:
                recover(self.registry)
                return
            except redis.RedisError as error:
                self._obstacle = f"Redis does not answer: {error}"
                self.stopping.wait(RETRY_S)
            except CorruptArtifact as error:  # the active version may be known all the same
                log.error("the registry is not in order: %s", error)
                return
            except OSError as error:
                if outage_of(error) is None:
                    raise
                log.warning("the registry is put in order later: %s", error)
                return

    def _describe(self, version: int, swap: Swap | None) -> Replica:
        load_ms, swap_ms = (swap.load_ms, swap.swap_ms) if swap else (None, None)
        given_up = self._following.given_up if self._following else None
        return Replica(id=self.id, version=version, load_ms=load_ms, swap_ms=swap_ms, given_up=given_up)

    def _keep_house(self) -> None:
        while not self.stopping.wait(self.settings.maintenance_s):
            try:
                recover(self.registry)
            except redis.RedisError as error:
                log.warning("no look for abandoned jobs: %s", error)
            except Exception:
                log.exception("looking for abandoned jobs failed")


def _outage_in(require: Callable[[], None]) -> str | None:
    try:
        require()
    except (redis.ConnectionError, redis.TimeoutError):
        raise
    except (redis.RedisError, OSError) as error:
        if (outage := outage_of(error)) is None:
            raise
        return outage
    return None
