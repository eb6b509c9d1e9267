"""Jobs whose worker is gone: how they are told from those that are well, and counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from redis import Redis

from errata_registry import keys
from errata_registry.jobs.queue import JobQueue
from errata_registry.records import Problem

# Between leaving the queue and being leased to its worker, a job is in neither place for a few milliseconds.
CLAIM_S = 2.0
LOSSES_TTL_S = 7 * 24 * 3600

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where jobs are, by their names. One that is needed and neither waiting nor deferred nor held is missing; it has
    cost a worker where it is abandoned or failed."""

    waiting: set[str]
    deferred: set[str]
    held: set[str]
    abandoned: set[str]
    failed: set[str]

    @classmethod
    def of(cls, jobs: JobQueue) -> Whereabouts:
        """Look at all queues."""
        # In the order of a job's way: one that goes on meanwhile is seen in the next place.
        deferred, waiting = jobs.deferred(), set(jobs.waiting())
        return cls(waiting, deferred, jobs.held(), jobs.abandoned(), jobs.failed())


def lost_of(redis: Redis, work_id: str, missing: set[str], jobs: Whereabouts, lease_s: int) -> set[str]:
    """Those of the missing jobs of an edit or a measurement that nobody will run. One that left no trace may be on its
    way to a worker, so it is lost at a later look only."""
    name, moment = keys.missing_jobs(work_id), str(time.time())
    before = cast(dict[str, str], redis.hgetall(name))
    since = {job: before.get(job, moment) for job in missing}
    lost = {job for job in missing if job in jobs.abandoned or float(moment) - float(since[job]) > CLAIM_S}
    still_missing = {job: since[job] for job in missing - lost}
    if still_missing != before:
        with redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(name)
            for job, first_seen in still_missing.items():
                pipeline.hset(name, job, first_seen)
            pipeline.expire(name, lease_s * 10)
            pipeline.execute()
    return lost


def count_loss(redis: Redis, work_id: str, job: str) -> int:
    """Note that a job has lost a worker; how many it has lost by now."""
    losses = keys.losses(work_id)
    lost = redis.hincrby(losses, job, 1)
    redis.expire(losses, LOSSES_TTL_S)
    return lost


def worker_died(what: str, times: int) -> Problem:
    """The end of `what`, which has lost so many workers."""
    detail = (
        f"the worker died, stopped answering or could not say how it ended, {times} times "
        f"with {what} in hand; its log may say why (running out of memory is the usual reason)"
    )
    return Problem.of_kind("worker-died", 500, detail)


def files_gone(error: Exception) -> Problem:
    """The end of work whose files in the home folder are damaged or gone, as `error` says."""
    detail = f"what the home folder held of it is damaged or gone: {error}"
    return Problem.of_kind("corrupt-artifact", 409, detail)


def each_in_turn(*parts: Callable[[], object]) -> None:
    """Run all of them, whatever becomes of the others. Raises what the first one to fail has raised."""
    failures: list[Exception] = []
    for part in parts:
        try:
            part()
        except Exception as error:
            if failures:  # the first one is for the caller to tell
                logger.exception("one more part of the recovery failed")
            failures.append(error)
    if failures:
        raise failures[0]
