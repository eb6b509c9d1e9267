"""Putting right what a crash left behind: a Redis that lost its memory, edits whose worker is gone."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import cast

from redis.exceptions import LockError
from redis.lock import Lock

from errata.errors import Conflict, CorruptArtifact
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


def recover(registry: Registry) -> None:
    """Put right what a crash left behind, here or elsewhere. To be called at the start and then every
    `settings.maintenance_s` seconds, by any number of processes; it is quick.

    Redis is rebuilt if it does not know this home folder; edits whose worker is gone are queued again, or end
    as failed once they have lost `settings.max_attempts` workers.

    Raises:
        Conflict: Redis holds the state of another home folder.
    """
    if not registry.is_bound():
        return
    home = registry.bound_base().home
    known = registry.redis.get(keys.HOME)
    if known is None:
        logger.info("Redis does not know this home folder and is rebuilt from it: %s", rebuild(registry))
    elif known != home:
        raise Conflict(
            f"the Redis of ERRATA_REDIS_URL belongs to another home folder than {registry.settings.home}; "
            "give each home a Redis, or a database number, of its own"
        )
    lock = registry.redis.lock(keys.RECOVERY_LOCK, timeout=RECOVERY_LOCK_S)
    if not lock.acquire(blocking=False):  # another process is at it
        return
    try:
        _restore_active(registry)
        _take_up_lost_edits(registry)
    finally:
        _release(lock)


def rebuild(registry: Registry) -> Rebuilt:
    """Write to Redis everything that the home folder holds. What Redis holds of it already stays as it is."""
    lock = registry.redis.lock(keys.RECOVERY_LOCK, timeout=REBUILD_LOCK_S)
    lock.acquire()
    try:
        num_versions, unreadable = _rebuild_versions(registry)
        num_edits, queued_again = _rebuild_edits(registry)
        _restore_active(registry)
        if registry.is_bound():
            registry.redis.set(keys.HOME, registry.bound_base().home)
    finally:
        _release(lock)
    return Rebuilt(num_versions, registry.journal.active(), num_edits, queued_again, unreadable)


def _rebuild_versions(registry: Registry) -> tuple[int, tuple[str, ...]]:
    unreadable = []
    numbers = registry.artifacts.numbers()
    for number in numbers:
        try:
            registry.put_version(registry.artifacts.manifest(number))
        except CorruptArtifact as error:
            unreadable.append(str(error))
    return len(numbers) - len(unreadable), tuple(unreadable)


def _rebuild_edits(registry: Registry) -> tuple[int, int]:
    waiting, held = set(registry.jobs.waiting()), registry.jobs.held()
    queued_again = 0
    ids = registry.edit_files.ids()
    for edit_id in ids:
        accepted = registry.edit_files.accepted(edit_id)
        registry.remember_key(accepted)
        outcome = registry.edit_files.outcome(edit_id)
        recorded = bool(registry.redis.exists(keys.edit(edit_id)))
        if outcome is not None:
            if not recorded or registry.edit(edit_id) != outcome:
                registry.put_edit(outcome)
            continue
        if not recorded:
            registry.put_edit(accepted.queued_edit())
        if edit_id not in waiting and edit_id not in held:
            registry.jobs.put(edit_id)
            queued_again += 1
    return len(ids), queued_again


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
            _take_up(registry, edit_id)


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
        registry.jobs.put(edit_id)
        registry.update_edit(edit_id, status=EditStatus.QUEUED)


def _release(lock: Lock) -> None:
    try:
        lock.release()
    except LockError:
        logger.warning("a recovery took longer than its lock holds; another process may have begun one")
