"""Progress of a job, and the points at which it can be stopped; each stage of it is a span."""

import logging
import time
from collections.abc import Callable
from typing import Any, Self

from errata_client.records import Progress, Stage
from errata_registry.jobs.edits import Edits
from errata_registry.jobs.shards import ShardOrder
from errata_registry.jobs.store import JobStore
from errata_registry.stored import now
from errata_registry.telemetry import Stages
from redis import RedisError

from errata.errors import Cancelled

REPORT_EVERY_S = 0.1
LOOK_EVERY_S = 5.0
REDIS_PAUSE_S = 2.0
# The first steps of a stage are slower than those that follow: too little is known of these to tell what they take.
ESTIMATED_AFTER_S = 3.0
ESTIMATED_AFTER_SHARE = 0.1

logger = logging.getLogger(__name__)


class WorkerStopping(Exception):
    """The worker was told to stop: what it has in hand goes back into the queue."""


class ProgressReport:
    """Tells those who follow a job how far it is; each call is also a point where the job may be stopped."""

    def __init__(self, store: JobStore[Any, Any], job_id: str, must_stop: Callable[[], bool]) -> None:
        """`must_stop` says whether the worker has no more time for the job."""
        self._store = store
        self._job_id = job_id
        self._must_stop = must_stop
        self._stage: str | None = None
        self._stage_began = 0.0
        self._done_before = 0
        self._reported = 0.0
        self._looked = time.monotonic()
        self._redis_away_until = 0.0
        self._stages = Stages()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._stages.end(error)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` units of a stage are done.

        Raises:
            Cancelled: the user asked it to stop.
            WorkerStopping: the worker was told to stop.
        """
        if self._must_stop():
            raise WorkerStopping
        moment = time.monotonic()
        if stage != self._stage:
            self._stage, self._stage_began, self._reported = stage, moment, 0.0
            self._done_before = done
            self._stages.begin(stage)
        if moment < self._redis_away_until:
            return
        try:
            if self._store.live.is_to_stop(self._job_id):
                raise Cancelled(f"{self._job_id} was cancelled")
            if moment - self._looked >= LOOK_EVERY_S:
                self._looked = moment
                if self._store.folder.outcome(self._job_id):
                    raise Cancelled(f"{self._job_id} has ended by another hand")
            if done == total or moment - self._reported >= REPORT_EVERY_S:
                self._reported = moment
                self._store.live.progress(self._job_id, self._progress(stage, done, total))
        except RedisError as error:  # the work does not depend on being followed
            logger.warning("%s: progress could not be told: %s", self._job_id, error)
            self._redis_away_until = time.monotonic() + REDIS_PAUSE_S

    def _progress(self, stage: str, done: int, total: int) -> Progress:
        return _timed(stage, done, total, done - self._done_before, time.monotonic() - self._stage_began)


class ShardProgressReport(ProgressReport):
    """Tells how far the search for the targets of a whole edit is, from within the job of one of its shards."""

    def __init__(self, edits: Edits, order: ShardOrder, must_stop: Callable[[], bool]) -> None:
        super().__init__(edits, order.edit, must_stop)
        self._edits = edits
        self._order = order

    def _progress(self, stage: str, done: int, total: int) -> Progress:
        order = self._order
        if self._edits.folder.outcome(order.edit):
            raise Cancelled(f"{order.edit} has ended with another of its shards")
        done_of_edit = self._edits.note_search(order, done)
        done_since = done_of_edit - (order.total - sum(order.sizes))
        return _timed(stage, done_of_edit, order.total, done_since, (now() - order.cut_at).total_seconds())


def _timed(stage: str, done: int, total: int, done_since: int, seconds: float) -> Progress:
    """`done_since` units were done in the last `seconds`; the others were done before."""
    is_known = seconds >= ESTIMATED_AFTER_S and done_since > ESTIMATED_AFTER_SHARE * (total - done + done_since)
    eta_s = round(seconds * (total - done) / done_since, 1) if is_known else None
    return Progress(stage=Stage(stage), done=done, total=total, eta_s=eta_s)
