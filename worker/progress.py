"""Progress of an edit, and the points at which it can be stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from redis import RedisError

from errata.errors import Cancelled
from errata.registry.records import Progress, Stage
from errata.registry.registry import Registry

REPORT_EVERY_S = 0.1
REDIS_PAUSE_S = 2.0

logger = logging.getLogger(__name__)


class WorkerStopping(Exception):
    """The worker was told to stop: the edit goes back into the queue."""


class ProgressReport:
    """Tells those who follow an edit how far it is; each call is also a point where the edit may be stopped."""

    def __init__(self, registry: Registry, edit_id: str, must_stop: Callable[[], bool]) -> None:
        """`must_stop` says whether the worker has no more time for this edit."""
        self._registry = registry
        self._edit_id = edit_id
        self._must_stop = must_stop
        self._stage: str | None = None
        self._stage_began = 0.0
        self._reported = 0.0
        self._redis_away_until = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a stage are done.

        Raises:
            Cancelled: the user asked the edit to stop.
            WorkerStopping: the worker was told to stop.
        """
        if self._must_stop():
            raise WorkerStopping
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._stage_began, self._reported = stage, now, 0.0
        if now < self._redis_away_until:
            return
        try:
            if self._registry.cancel_requested(self._edit_id):
                raise Cancelled(f"{self._edit_id} was cancelled")
            if done == total or now - self._reported >= REPORT_EVERY_S:
                self._reported = now
                self._registry.progress(self._edit_id, self._progress(stage, done, total, now))
        except RedisError as error:  # the edit does not depend on being followed
            logger.warning("%s: progress could not be told: %s", self._edit_id, error)
            self._redis_away_until = time.monotonic() + REDIS_PAUSE_S

    def _progress(self, stage: str, done: int, total: int, now: float) -> Progress:
        left_s = (now - self._stage_began) * (total - done) / done if done else None
        return Progress(stage=Stage(stage), done=done, total=total, eta_s=None if left_s is None else round(left_s, 1))
