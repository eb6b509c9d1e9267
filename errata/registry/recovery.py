"""Putting right what a crash left behind: a Redis that lost its memory, edits whose worker is gone."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import cast

from redis.exceptions import LockError
from redis.lock import Lock

from errata.errors import Conflict, CorruptArtifact, UnknownEdit
from errata.registry import keys
from errata.registry.records import EditStatus, Problem
from errata.registry.registry import Registry

# Long enough for the work, short enough that a process which dies with the lock does not delay the next one much.
RECOVERY_LOCK_S = 10
REBUILD_LOCK_S = 120
# Between leaving the queue and being leased to its worker, a job is in neither place for a few milliseconds.
CLAIM_S = 2.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a Redis was rebuilt with."""

    versions: int
    active: int
    edits: int
    queued_again: int
    unreadable: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.versions} versions ({self.active} is active), {self.edits} edits, "
            f"{self.queued_again} of them queued again"
        ]
        return "\n".join([*lines, *(f"left out: {problem}" for problem in self.unreadable)])


def recover(registry: Registry, at_start: bool = False) -> None:
    """Put right what a crash left behind, here or elsewhere. To be called at the start and then every
    `settings.maintenance_s` seconds, by any number of processes; but for the start, it is quick.

    Redis is rebuilt if it does not know this home folder, and at the start of each process, since it may know the
    folder and yet have lost what it was told last; edits whose worker is gone are queued again, or end as failed
    once they have lost `settings.max_attempts` workers.

    Raises:
        Conflict: Redis holds the state of another home folder.
        CorruptArtifact: the activation journal cannot be read. All else has been put right.
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
        _take_up_lost_edits(registry)
        _restore_active(registry)
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
        num_edits, queued_again = _rebuild_edits(registry, unreadable)
        if registry.is_bound():
            registry.redis.set(keys.HOME, registry.bound_base().home)
        _restore_active(registry)
    finally:
        _release(lock)
    return Rebuilt(num_versions, registry.journal.active(), num_edits, queued_again, tuple(unreadable))


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
                registry.put_version(registry.artifacts.manifest(number))
                readable += 1
            except CorruptArtifact as error:
                unreadable.append(str(error))
    return readable


def _rebuild_edits(registry: Registry, unreadable: list[str]) -> tuple[int, int]:
    """Gives how many edits there are, and how many were queued again; what cannot be read is added to `unreadable`."""
    # A Redis that knows the home folder is in use: an edit that is nowhere may be on its way into the queue, or from
    # there to a worker. `_take_up_lost_edits` has the patience to tell.
    in_use = registry.redis.exists(keys.HOME)
    waiting, held = set(registry.jobs.waiting()), registry.jobs.held()
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
        if unfinished and not in_use and edit_id not in waiting and edit_id not in held:
            registry.jobs.put(edit_id)
            queued_again += 1
    return readable, queued_again


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


def _take_up_lost_edits(registry: Registry) -> None:
    unfinished = cast(set[str], registry.redis.smembers(keys.UNFINISHED))
    # The queue is read first: a job that leaves it meanwhile is then seen in its worker's hands.
    waiting = set(registry.jobs.waiting())
    well = waiting | registry.jobs.held()
    abandoned = registry.jobs.abandoned()
    for edit_id in sorted(unfinished):
        if edit_id in well:
            registry.redis.delete(keys.edit_missing(edit_id))
        elif edit_id in abandoned or _has_been_missing(registry, edit_id):
            registry.redis.delete(keys.edit_missing(edit_id))
            try:
                _take_up(registry, edit_id)
            except (CorruptArtifact, UnknownEdit) as error:
                logger.error("an edit that no worker has in hand is given up: %s", error)
                registry.redis.srem(keys.UNFINISHED, edit_id)


def _has_been_missing(registry: Registry, edit_id: str) -> bool:
    """Whether an edit was nowhere at an earlier look already; this one is noted otherwise."""
    first_seen = registry.redis.set(
        keys.edit_missing(edit_id), time.time(), nx=True, get=True, ex=registry.settings.lease_s * 10
    )
    return first_seen is not None and time.time() - float(first_seen) >= CLAIM_S


def _take_up(registry: Registry, edit_id: str) -> None:
    edit = registry.edit(edit_id)
    if outcome := registry.edit_files.outcome(edit_id):
        registry.put_edit(outcome)
    elif registry.cancel_requested(edit_id):
        registry.update_edit(edit_id, status=EditStatus.CANCELLED)
    elif edit.status is EditStatus.RUNNING and edit.attempts >= registry.settings.max_attempts:
        detail = (
            f"the worker died, or stopped answering, during each of {edit.attempts} attempts; its log may say why "
            "(running out of memory is the usual reason)"
        )
        logger.error("%s: %s", edit_id, detail)
        problem = Problem.of_kind("worker-died", 500, detail)
        registry.update_edit(edit_id, status=EditStatus.FAILED, error=problem)
    else:
        logger.warning("%s is in no worker's hands and is queued again", edit_id)
        registry.log(edit_id, "warning", "no worker has the edit in hand any more; it is queued again")
        # In this order: a worker that gets the job at once must not find its own status overwritten.
        registry.update_edit(edit_id, status=EditStatus.QUEUED)
        registry.jobs.put(edit_id)


def _release(lock: Lock) -> None:
    try:
        lock.release()
    except LockError:
        logger.warning("a recovery took longer than its lock holds; another process may have begun one")
