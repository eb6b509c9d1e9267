"""Putting right what a crash left behind: a Redis that lost its memory, edits whose worker is gone."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

from redis.exceptions import LockError
from redis.lock import Lock

from errata.errors import Conflict, CorruptArtifact, UnknownEdit, UnknownVersion
from errata_registry import keys
from errata_registry.jobs.lost_jobs import Whereabouts, count_loss, each_in_turn, files_gone, lost_of, worker_died
from errata_registry.jobs.measurement_recovery import rebuild_measurements, take_up_lost_measurements
from errata_registry.jobs.queue import edit_of, shard_job, shard_of
from errata_registry.records import Edit, EditStatus, now
from errata_registry.registry import Registry

# Long enough for the work, short enough that a process which dies with the lock does not delay the next one much.
RECOVERY_LOCK_S = 10
REBUILD_LOCK_S = 120

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a Redis was rebuilt with."""

    versions: int
    active: int
    edits: int
    queued_again: int
    measurements: int
    measurements_queued_again: int
    unreadable: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.versions} versions ({self.active} is active), {self.edits} edits, "
            f"{self.queued_again} of them queued again"
        ]
        if self.measurements:
            lines.append(
                f"{self.measurements} evaluations and traces, {self.measurements_queued_again} of them queued again"
            )
        return "\n".join([*lines, *(f"left out: {problem}" for problem in self.unreadable)])


def recover(registry: Registry, at_start: bool = False) -> None:
    """Put right what a crash left behind, here or elsewhere. To be called at the start and then every
    `settings.maintenance_s` seconds, by any number of processes; but for the start, it is quick.

    Redis is rebuilt if it does not know this home folder, and at the start of each process, since it may know the
    folder and yet have lost what it was told last; jobs whose worker is gone are queued again, and an edit ends as
    failed once one of its jobs has lost `settings.max_attempts` workers.

    Raises:
        Conflict: Redis holds the state of another home folder.
        CorruptArtifact: the activation journal cannot be read. All else has been put right.
        OSError: of the home folder's disk. No part that fails keeps the others from their turn.
    """
    if not registry.is_bound():
        return
    home = registry.bound_base().home
    known = registry.redis.get(keys.HOME)
    if known is not None and known != home:
        raise Conflict(
            f"the Redis of ERRATA_REDIS_URL belongs to another home folder than {registry.settings.home}; "
            "give each home a Redis, or a database number, of its own"
        )
    if known is None or at_start:
        logger.info("Redis was brought into line with the home folder: %s", rebuild(registry))
    lock = registry.redis.lock(keys.RECOVERY_LOCK, timeout=RECOVERY_LOCK_S)
    if not lock.acquire(blocking=False):  # another process is at it
        return
    try:
        each_in_turn(
            partial(_agree_on_versions, registry),
            partial(_take_up_lost_work, registry),
            partial(_restore_active, registry),
        )
    finally:
        _release(lock)


def rebuild(registry: Registry) -> Rebuilt:
    """Write to Redis everything that the home folder holds. What Redis holds of it already stays as it is.

    Raises:
        CorruptArtifact: the activation journal cannot be read. All else has been written.
    """
    lock = registry.redis.lock(keys.RECOVERY_LOCK, timeout=REBUILD_LOCK_S)
    lock.acquire()
    try:
        unreadable: list[str] = []
        num_versions = _rebuild_versions(registry, unreadable)
        # A Redis that knows the home folder is in use: what is nowhere may be on its way into the queue, or from there
        # to a worker. `_take_up_lost_work` has the patience to tell.
        in_use = bool(registry.redis.exists(keys.HOME))
        jobs = Whereabouts.of(registry.jobs)
        num_edits, queued_again = _rebuild_edits(registry, jobs, in_use, unreadable)
        measurements = [
            rebuild_measurements(of_kind, jobs, in_use, unreadable)
            for of_kind in (registry.evaluations, registry.traces)
        ]
        if registry.is_bound():
            registry.redis.set(keys.HOME, registry.bound_base().home)
        _restore_active(registry)
    finally:
        _release(lock)
    return Rebuilt(
        versions=num_versions,
        active=registry.journal.active(),
        edits=num_edits,
        queued_again=queued_again,
        measurements=sum(there for there, _ in measurements),
        measurements_queued_again=sum(queued for _, queued in measurements),
        unreadable=tuple(unreadable),
    )


def _agree_on_versions(registry: Registry) -> None:
    """Redis hears of versions that came into the home folder by another way (`errata import` needs no Redis), and of
    those that were deleted there by a process that could not tell it."""
    known = {int(number) for number in cast(list[str], registry.redis.zrange(keys.VERSIONS, 0, -1))}
    there = set(registry.artifacts.numbers())
    for number in known - there:
        registry.forget_version(number)
    for number in there - known:
        with suppress(CorruptArtifact, UnknownVersion):  # `errata verify` says what is wrong with it
            registry.put_version(number)


def _rebuild_versions(registry: Registry, unreadable: list[str]) -> int:
    """Gives how many versions there are; what cannot be read is added to `unreadable`."""
    with registry.journal.locked():  # none is published or deleted meanwhile
        numbers = registry.artifacts.numbers()
        known = {int(number) for number in cast(list[str], registry.redis.zrange(keys.VERSIONS, 0, -1))}
        for number in known.difference(numbers):
            registry.forget_version(number)
        readable = 0
        for number in numbers:
            try:
                registry.put_version(number)
                readable += 1
            except CorruptArtifact as error:
                unreadable.append(str(error))
    return readable


def _rebuild_edits(registry: Registry, jobs: Whereabouts, in_use: bool, unreadable: list[str]) -> tuple[int, int]:
    """Gives how many edits there are, and how many were queued again; what cannot be read is added to `unreadable`."""
    readable = queued_again = 0
    for edit_id in registry.edit_files.ids():
        try:
            unfinished = _rebuild_edit(registry, edit_id)
        except UnknownEdit:  # withdrawn at this moment
            continue
        except CorruptArtifact as error:
            unreadable.append(str(error))
            continue
        readable += 1
        if unfinished and not in_use and edit_id not in jobs.waiting | jobs.deferred | jobs.held:
            _queue_again(registry, edit_id)
            queued_again += 1
    return readable, queued_again


def _queue_again(registry: Registry, edit_id: str) -> None:
    if registry.shards.pending(edit_id):
        registry.queue_pending_shards(edit_id)
    else:
        registry.jobs.put_edit(edit_id)


def _rebuild_edit(registry: Registry, edit_id: str) -> bool:
    """Whether the edit is yet to be finished. Raises `UnknownEdit`, `CorruptArtifact`."""
    accepted = registry.edit_files.accepted(edit_id)
    outcome = registry.edit_files.outcome(edit_id)
    registry.remember_key(accepted)
    recorded = bool(registry.redis.exists(keys.edit(edit_id)))
    if outcome is not None:
        if not recorded or registry.edit(edit_id) != outcome:
            registry.put_edit(outcome)
        return False
    if not recorded or not registry.redis.sismember(keys.UNFINISHED, edit_id):
        registry.put_edit(registry.edit(edit_id))
    return True


def _restore_active(registry: Registry) -> None:
    """Redis follows the journal, should a process have died, or Redis have been away, between the two."""
    if registry.redis.get(keys.ACTIVE) == str(registry.journal.active()):
        return
    with registry.deciding() as active:
        registry.put_active(active, by="recovery")


def _take_up_lost_work(registry: Registry) -> None:
    """Of edits, and of evaluations and traces. What has ended has no use for its jobs."""
    unfinished = {*registry.unfinished(), *registry.evaluations.unfinished(), *registry.traces.unfinished()}
    jobs = Whereabouts.of(registry.jobs)
    each_in_turn(
        partial(_take_up_lost_edits, registry, jobs),
        partial(take_up_lost_measurements, registry.evaluations, jobs),
        partial(take_up_lost_measurements, registry.traces, jobs),
    )
    for ended in set(map(edit_of, jobs.abandoned | jobs.failed)) - unfinished:
        registry.jobs.forget_edit(ended)


def _take_up_lost_edits(registry: Registry, jobs: Whereabouts) -> None:
    for edit_id in registry.unfinished():
        try:
            if lost := _lost_jobs(registry, edit_id, jobs):
                _take_up(registry, edit_id, lost, jobs)
        except (CorruptArtifact, UnknownEdit, FileNotFoundError) as error:
            logger.error("an edit that no worker has in hand is given up: %s", error)
            _end_without_files(registry, edit_id, error)
        except OSError as error:  # of the disk: the next look may find it well
            logger.error("%s cannot be taken up now: %s", edit_id, error)


def _end_without_files(registry: Registry, edit_id: str, error: Exception) -> None:
    """Let Redis show that an edit has ended which cannot be read, or be told of, in the home folder."""
    try:
        edit = registry.edit(edit_id)
    except (CorruptArtifact, UnknownEdit):  # nothing is left of it
        registry.redis.srem(keys.UNFINISHED, edit_id)
        return
    ended = {"status": EditStatus.FAILED, "error": files_gone(error), "progress": None, "finished_at": now()}
    registry.put_edit(edit.model_copy(update=ended))


def _lost_jobs(registry: Registry, edit_id: str, jobs: Whereabouts) -> set[str]:
    """Those of the edit's jobs that are needed and that nobody will run.

    Shards that are not done are needed, and the edit's own job behind them; no shard, while a worker has the edit
    itself in hand: it may be about to queue them.
    """
    pending = [] if edit_id in jobs.held else registry.shards.pending(edit_id)
    well = jobs.waiting | jobs.held
    missing = {shard_job(edit_id, shard) for shard in pending} - well
    if edit_id not in (well | jobs.deferred if pending else well):
        missing.add(edit_id)
    return lost_of(registry.redis, edit_id, missing, jobs, registry.settings.lease_s)


def _take_up(registry: Registry, edit_id: str, lost: set[str], jobs: Whereabouts) -> None:
    """Queue lost jobs of an edit again, unless it has ended, is to end, or one of them has lost too many workers."""
    edit = registry.edit(edit_id)
    if outcome := registry.edit_files.outcome(edit_id):
        registry.put_edit(outcome)
        return
    registry.edit_files.accepted(edit_id)  # without its request no worker can do anything
    if registry.cancel_requested(edit_id) and registry.end_as_cancelled(edit_id).status.final:
        return
    # A job that a stopping worker put back, or that left because others are to be done first, was not lost by it.
    cost_a_worker = lost & (jobs.abandoned | jobs.failed)
    pending = registry.shards.pending(edit_id)
    for job in sorted(cost_a_worker):
        if count_loss(registry.redis, edit_id, job) >= registry.settings.max_attempts:
            _give_up(registry, edit, job)
            return
    if pending:
        _take_up_shards(registry, edit, pending, lost, jobs, len(cost_a_worker))
    else:
        _take_up_edit(registry, edit, bool(cost_a_worker))


def _take_up_edit(registry: Registry, edit: Edit, cost_a_worker: bool) -> None:
    logger.warning("%s is in no worker's hands and is queued again", edit.id)
    registry.log(edit.id, "warning", "no worker has the edit in hand any more; it is queued again")
    if cost_a_worker:
        # Before it is queued: a worker that gets the job at once must not find its own status overwritten.
        registry.update_edit(edit.id, status=EditStatus.QUEUED)
    if edit.started_at:
        registry.jobs.put_begun_edit(edit.id)
    else:
        registry.jobs.put_edit(edit.id)


def _take_up_shards(
    registry: Registry, edit: Edit, pending: list[int], lost: set[str], jobs: Whereabouts, workers_lost: int
) -> None:
    """Queue lost jobs of an edit again that is being searched for in shards. It stays an attempt, so it is here that
    each lost worker counts as one more."""
    if edit.id in lost:  # its worker may have died before it had queued the shards
        lost_shards = [shard for shard in pending if shard_job(edit.id, shard) not in jobs.waiting | jobs.held]
    else:
        lost_shards = [shard for shard in pending if shard_job(edit.id, shard) in lost]
    if lost_shards:
        message = f"no worker has {len(lost_shards)} of the target shards in hand; they are queued again"
        logger.warning("%s: %s", edit.id, message)
        registry.log(edit.id, "warning", message)
    if workers_lost:
        registry.update_edit(edit.id, attempts=edit.attempts + workers_lost)
    registry.jobs.put_shards(edit.id, lost_shards, at_front=True)
    if edit.id in lost:
        registry.jobs.put_begun_edit(edit.id, pending)


def _give_up(registry: Registry, edit: Edit, job: str) -> None:
    what = "the edit" if job == edit.id else f"target shard {shard_of(job) + 1} of the edit"
    problem = worker_died(what, registry.settings.max_attempts)
    logger.error("%s: %s", edit.id, problem.detail)
    registry.update_edit(edit.id, status=EditStatus.FAILED, error=problem)


def _release(lock: Lock) -> None:
    try:
        lock.release()
    except LockError:
        logger.warning("a recovery took longer than its lock holds; another process may have begun one")
