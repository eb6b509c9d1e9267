"""Following activations: an engine is switched to each newly active version, and what it serves is announced.

The service's own engine is kept so at the active version, and so is another engine's server by `errata follow`.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import redis
from errata_client.records import Replica
from errata_registry import telemetry
from errata_registry.registry import Registry
from opentelemetry.trace import SpanKind

from errata.errors import ErrataError
from errata.files.disk import Refused

RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
GIVEN_UP_AFTER = 3  # tries: what lasts a moment is over by then
WAIT_FOR_ACTIVATION_MS = 1000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Swap:
    """The duration of a change of the active version: `load_ms` to load the weights, `swap_ms` to activate them."""

    load_ms: float
    swap_ms: float


@dataclass(frozen=True, slots=True)
class PassedOver:
    """The version that should serve and cannot, and why; another one serves in its place."""

    version: int
    reason: str


class Followed(Protocol):
    """An engine whose active version can be changed."""

    @property
    def active(self) -> int | None:
        """The version of requests that name none; None until the first `switch`."""
        ...

    def switch(self, version: int) -> Swap:
        """Load a version and make it the active one. Raises `ErrataError` where it cannot be served."""
        ...


class Following:
    """Keeps an engine at the active version, and announces it.

    Attributes:
        passed_over: the active version, while it cannot be served.
        obstacle: why the last version that was tried cannot be served.
        lost_track: why activations cannot be followed; None while they can.
        outage: why what other machines commit is not heard of; None while it is.
        has_announced: True once a served version was announced.
    """

    def __init__(
        self,
        registry: Registry,
        engine: Followed,
        describe: Callable[[int, Swap | None], Replica],
        stopping: threading.Event,
    ) -> None:
        """`describe` makes the announcement of a served version and the swap that brought it; `stopping` ends `run`."""
        self.passed_over: PassedOver | None = None
        self.obstacle: str | None = None
        self.lost_track: str | None = None
        self.outage: str | None = None
        self.has_announced = False
        self._registry = registry
        self._engine = engine
        self._describe = describe
        self._stopping = stopping
        self._retry_s = RETRY_S
        self._retry_at = 0.0
        self._tries = 0
        self._swap: Swap | None = None
        self._announcing = threading.Lock()
        self._heard_at = time.monotonic()

    @property
    def news_age_s(self) -> float:
        """Seconds since it was last looked up which version is to be served."""
        return time.monotonic() - self._heard_at

    @property
    def given_up(self) -> int | None:
        """The active version, once it was tried in vain `GIVEN_UP_AFTER` times; it is tried on."""
        passed_over = self.passed_over
        return passed_over.version if passed_over is not None and self._tries >= GIVEN_UP_AFTER else None

    def run(self) -> None:
        """Switch to the active version after each activation, until told to stop. Try again after a failure."""
        cursor = None
        while not self._stopping.is_set():
            try:
                is_up_to_date = self._catch_up()
                if self._serve_version(self._registry.activations.active()) or not self.has_announced:
                    self.announce()
                self.lost_track = None
                if is_up_to_date:
                    self._heard_at = time.monotonic()
                if cursor is None:
                    cursor = self._registry.activations.cursor()
                followed = self._registry.activations.follow(cursor, WAIT_FOR_ACTIVATION_MS)
                if followed != cursor:
                    self._try_anew()
                cursor = followed
            except redis.RedisError as error:
                log.warning("activations cannot be followed: %s", error)
                cursor = None
                self._stopping.wait(RETRY_S)
            except Exception as error:
                lost_track = f"activations cannot be followed: {error}"
                if lost_track != self.lost_track:
                    log.exception("activations cannot be followed")
                self.lost_track = lost_track
                cursor = None
                self._stopping.wait(RETRY_S)

    def _catch_up(self) -> bool:
        """Take in what other machines committed; return False where the bucket does not tell: what is known goes on."""
        try:
            self._registry.commits.catch_up()
        except Refused as error:
            if self.outage is None:
                log.warning("activations on other machines are not heard of: %s", error.strerror)
            self.outage = error.strerror
            return False
        self.outage = None
        return True

    def announce(self) -> None:
        """Announce the served version. One thread at a time, so that the last announcement is the newest version."""
        with self._announcing:
            if (version := self._engine.active) is not None:
                self._registry.replicas.announce(self._describe(version, self._swap))
                self.has_announced = True

    def send_heartbeats(self) -> None:
        """Announce the served version at intervals, even while another one is loaded, until told to stop."""
        while not self._stopping.wait(self._registry.settings.replica_ttl_s / 3):
            try:
                self.announce()
            except Exception as error:
                log.warning("this replica could not be announced: %s", error)

    def _try_anew(self) -> None:
        """After an activation, try at once what was given up, and say so: loading may take longer than others wait."""
        had_given_up = self.given_up is not None
        self._retry_at, self._retry_s, self._tries = 0.0, RETRY_S, 0
        if had_given_up:
            self.announce()

    def _serve_version(self, wanted: int) -> bool:
        """Switch to a version, unless it is served; return True if what is to be announced has changed.

        If it cannot be served, what serves goes on; at the start, the last version before it that can be served serves.
        It is tried again after a pause that grows, and at once after the next activation.
        """
        had_given_up = self.given_up
        if self._engine.active == wanted:
            self.passed_over = None
            return had_given_up is not None
        known = self.passed_over
        if known is not None and known.version == wanted and time.monotonic() < self._retry_at:
            return False
        obstacle = self._switch_to(wanted)
        if obstacle is None:
            self.passed_over = None
            return True
        self.obstacle = obstacle
        before = reversed(self._registry.activations.before_active()) if self._engine.active is None else ()
        begun = any(self._switch_to(version) is None for version in before)
        self.passed_over = PassedOver(wanted, obstacle)
        if self.passed_over != known:
            log.error("version %d cannot be served, %s serves: %s", wanted, self._engine.active, obstacle)
            self._retry_s = RETRY_S
        self._tries = 1 if known is None or known.version != wanted else self._tries + 1
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
        return begun or self.given_up != had_given_up

    def _switch_to(self, version: int) -> str | None:
        """Switch to a version; return what is in the way of that."""
        told = {"errata.version": version}
        try:
            with telemetry.span("activate", SpanKind.CONSUMER, told, parent=self._traceparent_of(version)):
                self._swap = swap = self._engine.switch(version)
        except (ErrataError, Refused) as error:
            return str(error)
        log.info("serving version %d, loaded in %.1f ms, put in place in %.3f ms", version, swap.load_ms, swap.swap_ms)
        return None

    def _traceparent_of(self, version: int) -> str | None:
        """Return what names the trace of the edit that has just made a version active, if an edit has."""
        if self._engine.active is not None:  # else this process began
            with suppress(ErrataError, OSError):
                last = self._registry.activations.journal.entries()[-1]
                if last.active == version:
                    return self._registry.edits.folder.accepted(last.by).traceparent
        return None
