"""How any job runs: one worker's turn at it, from claiming it to its end, and how it ends with what goes wrong.

What the home folder's disk refuses is nobody's end: it is waited out.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Generic

import torch
from errata_client.records import Edit, Job, JobStatus, Problem
from errata_registry import telemetry
from errata_registry.jobs.folder import AcceptedJob
from errata_registry.jobs.kinds import Asked, Shown
from errata_registry.jobs.store import JobStore
from errata_registry.logs import about_request
from errata_registry.problems import problem, problem_of
from errata_registry.registry import Registry
from errata_registry.stored import now
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from redis import RedisError
from rq import get_current_job
from rq.timeouts import JobTimeoutException
from safetensors import SafetensorError

from errata.errors import Cancelled, ErrataError, OutOfMemory, TimedOut
from errata.files import disk
from errata.targets.store import BuildStore
from errata_worker.progress import ProgressReport, WorkerStopping
from errata_worker.resident_model import ResidentModel

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
LOOK_S = 0.2
MOST_DAMAGE_TOLD = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resources:
    """What every task of a worker's process works with.

    Attributes:
        targets: what was found before.
        worker: name of the worker.
        must_stop: whether the worker has no more time for the task at hand.
    """

    registry: Registry
    resident: ResidentModel
    targets: BuildStore
    worker: str
    must_stop: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Turn(Generic[Asked, Shown]):
    """One worker's turn at a job.

    Attributes:
        record: the job's record when the turn began.
        accepted: what was asked for, by whom and when.
        report: tells how far the job is; each call may end the turn.
    """

    store: JobStore[Asked, Shown]
    record: Shown
    accepted: AcceptedJob[Asked]
    registry: Registry
    resident: ResidentModel
    targets: BuildStore
    report: ProgressReport

    @property
    def folder(self) -> Path:
        """Where the files of the job lie."""
        return self.store.folder.of(self.record.id)

    def log(self, message: str, level: str = "info") -> None:
        """Tell those who follow the job something in words."""
        self.store.live.log(self.record.id, level, message)

    def tell_of_damage(self) -> None:
        """Tell those who follow the job what was found damaged on the disk, here or at the worker's start."""
        damage = self.resident.damage
        for _ in range(min(len(damage), MOST_DAMAGE_TOLD)):
            self.log(damage.popleft(), "warning")
        if damage:
            self.log(f"and {len(damage)} more damaged files, which the worker's log names", "warning")
            damage.clear()

    def end(self, status: JobStatus = JobStatus.SUCCEEDED, **changes: Any) -> None:
        """End the job."""
        # Said again in case that Redis has lost its memory since the job was claimed.
        noted = {"attempts": self.record.attempts, "started_at": self.record.started_at}
        record = self.store.update(self.record.id, status=status, **{**noted, **changes})
        tell_of_end(record)


def tell_of_end(job: Job) -> None:
    """Write into the worker's log how a job ended, and why where that is not well; its turn's span tells it, too."""
    trace.get_current_span().set_attribute("errata.job.status", job.status)
    if job.error is not None:
        logger.warning("%s: %s: %s: %s", job.id, job.status, job.error.title, job.error.detail)
    elif isinstance(job, Edit) and job.version is not None:
        logger.info("%s: %s: %s", job.id, job.status, job.message or f"version {job.version}")
    else:
        logger.info("%s: %s", job.id, job.status)


def run_job(job_id: str, resources: Resources) -> None:
    """Take a turn at a job: the function `carry_out` of its kind's module is given the turn.

    It does what the job asks for and ends it, or leaves it to other tasks that it has queued.

    Raises:
        redis.RedisError: as `ending_with_what_goes_wrong`.
    """
    store = resources.registry.store_of(job_id)
    with turn_at(store, job_id, resources, store.kind.name):
        _run(store, job_id, resources)


@contextmanager
def turn_at(store: JobStore[Any, Any], job_id: str, resources: Resources, what: str) -> Iterator[None]:
    """The block is a turn at a job: its logs name the request that asked for it, and it is a span of that one's trace,
    with the time that the turn has waited for a worker."""
    asked_by = parent = None
    with suppress(ErrataError, OSError):
        if not store.folder.is_accepted(job_id):  # another machine may have accepted it
            resources.registry.commits.catch_up()
        accepted = store.folder.accepted(job_id)
        asked_by, parent = accepted.request_id, accepted.traceparent
    told = {"errata.job.id": job_id, "errata.worker": resources.worker}
    with about_request(asked_by), telemetry.span(f"turn at {what}", SpanKind.CONSUMER, told, parent=parent):
        if (task := get_current_job()) and task.enqueued_at:
            telemetry.note_past("queue wait", task.enqueued_at)
        yield


def _run(store: JobStore[Any, Any], job_id: str, resources: Resources) -> None:
    try:
        waiting_out_the_disk(store, job_id, resources.must_stop, partial(_take_turn, store, job_id, resources))
    except WorkerStopping:
        _put_back(store, job_id)


def _take_turn(store: JobStore[Any, Any], job_id: str, resources: Resources) -> None:
    registry = resources.registry
    limit_s = registry.settings.job_timeout_s
    with ending_with_what_goes_wrong(store, job_id, limit_s, resources.resident.is_device_lost):
        registry.commits.catch_up()  # which has its request, that another machine may have accepted
        if store.let_older_go_first(job_id):
            logger.info("%s: what was accepted before it goes first", job_id)
            return
        record = claim(store, job_id)
        if record.ended:
            return
        if pending := registry.edits.shards.pending(job_id):  # recovery sees to them, and to this job
            logger.info("%s: there are still %d target shards to be done", job_id, len(pending))
            return
        accepted = store.folder.accepted(job_id)
        with ProgressReport(store, job_id, resources.must_stop) as report:
            turn = Turn(store, record, accepted, registry, resources.resident, resources.targets, report)
            import_module(store.kind.work).carry_out(turn)


def claim(store: JobStore[Asked, Shown], job_id: str) -> Shown:
    """Begin a job if it was waiting; return its record. It may have ended, or end here where it was cancelled."""
    record = store.record(job_id)
    if record.ended:
        store.queue.forget(job_id)  # whoever queued it was held up until it had ended by another hand
        return record
    if store.live.is_to_stop(job_id) and (ended := store.end_as_cancelled(job_id)).ended:
        return ended
    if record.status is JobStatus.QUEUED:
        logger.info("%s: attempt %d", job_id, record.attempts + 1)
        changes = {"attempts": record.attempts + 1, "started_at": record.started_at or now()}
        record = store.update(job_id, status=JobStatus.RUNNING, **changes)
    return record


def _put_back(store: JobStore[Any, Any], job_id: str) -> None:
    """Leave a job for another worker: whoever finds it without one queues it again. This was no attempt."""
    record: Job = store.record(job_id)
    store.live.log(job_id, "info", f"the worker was told to stop; the {store.kind.name} goes back into the queue")
    store.update(job_id, status=JobStatus.QUEUED, attempts=max(0, record.attempts - 1))


def waiting_out_the_disk(
    store: JobStore[Any, Any], job_id: str, must_stop: Callable[[], bool], work: Callable[[], None]
) -> None:
    """Do a part of a job, and again from its start each time that the home folder's disk took nothing.

    The pauses grow from `FIRST_PAUSE_S` to `LONGEST_PAUSE_S`. Targets that were found before are there still.

    Raises:
        WorkerStopping: the worker was told to stop meanwhile.
    """
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return work()
        except (OSError, SafetensorError) as error:
            if (why := disk.refusal_of(error)) is None:
                raise
        message = f"the home folder's disk takes nothing ({why}); trying again in {pause_s:.0f} s"
        logger.warning("%s: %s", job_id, message)
        with suppress(RedisError):
            store.live.log(job_id, "warning", message)
        _pause(store, job_id, must_stop, pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _pause(store: JobStore[Any, Any], job_id: str, must_stop: Callable[[], bool], seconds: float) -> None:
    """Wait, but no longer than until the job is cancelled. Raises `WorkerStopping`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if must_stop():
            raise WorkerStopping
        with suppress(RedisError):
            if store.live.is_to_stop(job_id):
                until = min(until, time.monotonic() + FIRST_PAUSE_S)
        time.sleep(LOOK_S)


@contextmanager
def ending_with_what_goes_wrong(
    store: JobStore[Any, Any], job_id: str, limit_s: int, is_device_lost: Callable[[], bool]
) -> Iterator[None]:
    """End the job where the block is cancelled or fails.

    Where it fails because the device runs nothing any more, the process ends instead: that is a lost worker, and
    another one takes the job up.

    Args:
        limit_s: seconds that a task may take.
        is_device_lost: asked where it fails for a reason that is not known.

    Raises:
        redis.RedisError: the job has not ended, so it is taken up again when Redis is back.
        WorkerStopping: nor has it here.
        OSError, SafetensorError: nor here, where the disk took nothing (`disk.refusal_of`).
    """
    try:
        yield
    except (RedisError, WorkerStopping):
        raise
    except Cancelled:
        if (record := store.end_as_cancelled(job_id)).ended:
            tell_of_end(record)
    except Exception as error:
        if disk.refusal_of(error):
            raise
        known = ErrataError | JobTimeoutException | torch.OutOfMemoryError
        if not isinstance(error, known) and is_device_lost():
            logger.critical("%s: the device runs nothing any more; this worker ends", job_id, exc_info=error)
            os._exit(1)  # an orderly end would wait for the device
        telemetry.note_failure(error)
        why = _problem(error, job_id, store.kind.name, limit_s)
        tell_of_end(store.update(job_id, status=JobStatus.FAILED, error=why))


def _problem(error: Exception, job_id: str, kind: str, limit_s: int) -> Problem:
    if isinstance(error, JobTimeoutException):
        error = TimedOut(f"the {kind} took longer than {limit_s} seconds")
    elif isinstance(error, torch.OutOfMemoryError):
        error = OutOfMemory(f"the device ran out of memory: {str(error).splitlines()[0]}")
    if isinstance(error, ErrataError):
        return problem_of(error)
    logger.error("%s failed", job_id, exc_info=error)
    detail = f"unexpected {type(error).__name__}: {error}; the worker's log has its traceback"
    return problem(500, f"{kind}-failed", detail)
