"""Putting right what a crash left behind: jobs that no worker has in hand, whatever became of their worker or of Redis.

What is to be done is read from the home folder: a job that was accepted and has not ended needs its target shards that
have an order, or else its own task. Whoever keeps house queues a needed task that is neither waiting nor held by a live
worker. RQ's own cleaning with `Retry` would do this for tasks whose worker fell silent, and for nothing else:
docs/architecture.md says what it cannot do.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from socket import gethostname
from typing import Any

from errata_client.records import Job, JobStatus
from redis.exceptions import LockError

from errata.errors import Conflict, CorruptArtifact, UnknownJob, WorkerDied
from errata_registry import keys
from errata_registry.home import BoundBase, is_bound
from errata_registry.jobs.folder import REQUEST
from errata_registry.jobs.idempotency import forget_old_keys
from errata_registry.jobs.queue import Whereabouts, job_of, shard_of, shard_task
from errata_registry.jobs.retention import forget_old_jobs
from errata_registry.jobs.store import JobStore, files_gone
from errata_registry.leftovers import remove_leftovers
from errata_registry.registry import Registry
from errata_registry.settings import Settings

# Long enough for the work, short enough that a process which dies with the lock does not delay the next one much.
LOCK_S = 30
# Between leaving the queue and being leased to its worker, a task is in neither place for a few milliseconds.
CLAIM_S = 2.0

logger = logging.getLogger(__name__)

AnyStore = JobStore[Any, Any]


def recover(registry: Registry, *, wait: bool = False) -> None:
    """Put right what a crash left behind, here or elsewhere. To be called at the start and then every
    `settings.maintenance_s` seconds, by any number of processes.

    Jobs that nobody has in hand are queued again, and a job ends as failed once one of its tasks has lost
    `settings.max_attempts` workers.

    Args:
        wait: whether to wait for another process that is at it, and then to look all the same.

    Raises:
        Conflict: Redis works for another home folder.
        OSError: of the home folder's disk. No part that fails keeps the others from their turn.
    """
    if not is_bound(registry.settings.home):
        return
    is_new = _claim_redis(registry)
    lock = registry.redis.lock(keys.RECOVERY_LOCK, timeout=LOCK_S)
    if not lock.acquire(blocking=wait):
        return
    failures: list[Exception] = []
    try:
        where = registry.queue.whereabouts()
        registry.commits.catch_up()  # behind it: what has ended since is in nobody's hand
        for part in (
            *(partial(_take_up_lost_jobs, registry, store, where, is_new) for store in registry.stores),
            partial(_forget_ended, registry, where),
            partial(_sweep, registry),
        ):
            try:
                part()
            except Exception as error:
                if failures:  # the first one is for the caller to tell
                    logger.exception("one more part of the recovery failed")
                failures.append(error)
    finally:
        try:
            lock.release()
        except LockError:
            logger.warning("a recovery took longer than its lock holds; another process may have begun one")
    if failures:
        raise failures[0]


def reindex(registry: Registry) -> str:
    """Look through the whole home folder, and queue what nobody has in hand; doing it again changes nothing.

    Return what was found, and why some things were left out, in lines to be read.

    Raises:
        Conflict: Redis works for another home folder.
        CorruptArtifact: the activation journal cannot be read.
    """
    before = registry.queue.whereabouts()
    recover(registry, wait=True)
    after = registry.queue.whereabouts()
    again = {job_of(task) for task in (after.waiting | after.deferred) - (before.waiting | before.deferred)}
    left_out: list[str] = []

    def is_readable(*reads: Callable[[], object]) -> bool:
        try:
            for read in reads:
                read()
        except UnknownJob:  # an empty folder
            return False
        except CorruptArtifact as error:
            left_out.append(f"left out: {error}")
            return False
        return True

    manifest = registry.artifacts.manifest
    versions = [number for number in registry.artifacts.numbers() if is_readable(partial(manifest, number))]
    edits, *others = [
        {one for one in folder.ids() if is_readable(partial(folder.accepted, one), partial(folder.outcome, one))}
        for folder in (store.folder for store in registry.stores)
    ]
    measurements = set[str]().union(*others)
    lines = [
        f"{len(versions)} versions ({registry.activations.active()} is active), {len(edits)} edits, "
        f"{len(edits & again)} of them queued again"
    ]
    if measurements:
        lines.append(f"{len(measurements)} evaluations and traces, {len(measurements & again)} of them queued again")
    return "\n".join([*lines, *left_out])


def _claim_redis(registry: Registry) -> bool:
    """Make sure that Redis works for this home folder; return True if it is new to it."""
    home = BoundBase.of(registry.settings.home).home
    if registry.redis.set(keys.HOME, home, nx=True):
        return True
    if registry.redis.get(keys.HOME) != home:
        raise Conflict(
            f"the Redis of ERRATA_REDIS_URL belongs to another home folder than {registry.settings.home}; "
            "give each home a Redis, or a database number, of its own"
        )
    return False


def _sweep(registry: Registry) -> None:
    """Once an hour, and at the start of the first process, remove what has had its day."""
    settings, swept = registry.settings, partial(registry.redis.set, value=1, nx=True, ex=3600)
    is_first = swept(keys.SWEPT)
    if is_first:
        forget_old_keys(settings.home, registry.commits)
        if settings.keep_jobs_days is not None and (removed := forget_old_jobs(registry, settings.keep_jobs_days)):
            logger.info("forgot %d jobs that ended over %d days ago", removed, settings.keep_jobs_days)
        try:
            registry.commits.remove_unnamed()
        except OSError as error:
            logger.warning("what no commit names stays in the bucket for another hour: %s", error)
    if not registry.commits.shares_a_folder:
        is_first = swept(keys.swept_folder(f"{gethostname()}:{settings.home}"))
    if is_first:
        _sweep_folder(settings)


def _sweep_folder(settings: Settings) -> None:
    """Remove what nobody else sees: what stopped processes left, and targets beyond their room."""
    remove_leftovers(settings.home)
    if settings.keep_targets_bytes is not None:
        from errata.targets.store import BuildStore  # it brings torch, which whoever has no such setting does without

        BuildStore(settings.home / "targets").shrink(settings.keep_targets_bytes)


def _forget_ended(registry: Registry, where: Whereabouts) -> None:
    """Forget the live state and the tasks of jobs that have ended, and end those whose request is gone."""
    live = registry.live.ids()  # first: what is accepted after this look is nobody's to forget
    registry.commits.catch_up()
    unfinished = {job_id for store in registry.stores for job_id in store.folder.unfinished()}
    for job_id in set(live) - unfinished:
        store = registry.store_of(job_id)
        try:
            if outcome := store.folder.outcome(job_id):
                store.let_go(outcome)
            elif not store.folder.is_accepted(job_id) and _is_missing_for_long(registry, job_id):
                store.give_up(job_id, files_gone(UnknownJob(f"the request of {job_id} is not there any more")))
        except CorruptArtifact:  # it has ended, and failed for those who ask
            registry.queue.forget(job_id)
            registry.live.forget(job_id)
    for job_id in {job_of(task) for task in where.abandoned | where.failed} - unfinished - set(registry.live.ids()):
        registry.queue.forget(job_id)


def _is_missing_for_long(registry: Registry, job_id: str) -> bool:
    """Return True if a job's request was missing at an earlier look, too: a file system may be slow to show it."""
    since = registry.live.missing_since(job_id).get(REQUEST)
    if since is None:
        registry.live.note_missing(job_id, {REQUEST: time.time()}, keep_s=registry.settings.lease_s * 10)
    return since is not None and time.time() - since > CLAIM_S


def _take_up_lost_jobs(registry: Registry, store: AnyStore, where: Whereabouts, is_new: bool) -> None:
    for job_id in store.folder.unfinished():
        try:
            if lost := _lost_tasks(registry, job_id, where, is_new):
                _take_up(registry, store, job_id, lost, where)
        except (CorruptArtifact, UnknownJob, FileNotFoundError) as error:
            store.give_up(job_id, files_gone(error))
        except OSError as error:  # of the disk: the next look may find it well
            logger.error("%s cannot be taken up now: %s", job_id, error)


def _lost_tasks(registry: Registry, job_id: str, where: Whereabouts, is_new: bool) -> set[str]:
    """Return those of a job's tasks that are needed and that nobody will run.

    Shards that are not done are needed, and the job's own task behind them; no shard, while a worker has the job
    itself in hand: it may be about to queue them. A task that left no trace may be on its way to a worker, so it is
    lost at a later look only; but nothing can be on its way in a Redis that is new to the home folder.
    """
    pending = [] if job_id in where.held else registry.edits.shards.pending(job_id)
    well = where.waiting | where.held
    missing = {shard_task(job_id, shard) for shard in pending} - well
    if job_id not in (well | where.deferred if pending else well):
        missing.add(job_id)
    moment, before = time.time(), registry.live.missing_since(job_id)
    since = {task: before.get(task, moment) for task in missing}
    lost = {task for task in missing if task in where.abandoned or is_new or moment - since[task] > CLAIM_S}
    still_missing = {task: since[task] for task in missing - lost}
    if still_missing != before:
        registry.live.note_missing(job_id, still_missing, keep_s=registry.settings.lease_s * 10)
    return lost


def _take_up(registry: Registry, store: AnyStore, job_id: str, lost: set[str], where: Whereabouts) -> None:
    """Queue lost tasks of a job again, unless it is to stop, or one of them has lost too many workers."""
    store.folder.accepted(job_id)  # without its request no worker can do anything
    if store.live.is_to_stop(job_id) and store.end_as_cancelled(job_id).ended:
        return
    # A task that a stopping worker put back, or that left because others are to be done first, was not lost by it.
    cost_a_worker = lost & (where.abandoned | where.failed)
    for task in sorted(cost_a_worker):
        if registry.live.count_loss(job_id, task) >= registry.settings.max_attempts:
            what = f"target shard {shard_of(task) + 1} of " if task != job_id else ""
            died = (
                "the worker died, stopped answering or could not say how it ended, "
                f"{registry.settings.max_attempts} times with {what}the {store.kind.name} in hand; its log may say why "
                "(running out of memory is the usual reason)"
            )
            store.give_up(job_id, WorkerDied(died))
            return
    record = store.record(job_id)
    if pending := registry.edits.shards.pending(job_id):
        _queue_shards_again(registry, record, pending, lost, where, len(cost_a_worker))
    else:
        _queue_again(registry, store, record, bool(cost_a_worker))


def _queue_again(registry: Registry, store: AnyStore, record: Job, cost_a_worker: bool) -> None:
    logger.warning("%s is in no worker's hands and is queued again", record.id)
    registry.live.log(record.id, "warning", f"no worker has the {store.kind.name} in hand any more; it is queued again")
    # Before it is queued: a worker that gets the task at once must not find its own status overwritten.
    if cost_a_worker:
        store.update(record.id, status=JobStatus.QUEUED)
    else:
        registry.live.put(record)
    if record.started_at:
        registry.queue.put_begun(record.id)
    else:
        registry.queue.put(record.id)


def _queue_shards_again(
    registry: Registry, edit: Job, pending: list[int], lost: set[str], where: Whereabouts, workers_lost: int
) -> None:
    """Queue lost tasks of an edit again that is being searched for in shards. It stays an attempt, so it is here that
    each lost worker counts as one more."""
    if edit.id in lost:  # its worker may have died before it had queued the shards
        lost_shards = [shard for shard in pending if shard_task(edit.id, shard) not in where.waiting | where.held]
    else:
        lost_shards = [shard for shard in pending if shard_task(edit.id, shard) in lost]
    if lost_shards:
        message = f"no worker has {len(lost_shards)} of the target shards in hand; they are queued again"
        logger.warning("%s: %s", edit.id, message)
        registry.live.log(edit.id, "warning", message)
    if workers_lost:
        registry.edits.update(edit.id, attempts=edit.attempts + workers_lost)
    registry.queue.put_shards(edit.id, lost_shards, at_front=True)
    if edit.id in lost:
        registry.queue.put_begun(edit.id, pending)
