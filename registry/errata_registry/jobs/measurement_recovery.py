"""Putting right what a crash left behind of evaluations and traces, as `recovery` does for edits."""

from __future__ import annotations

import logging
from typing import Any

from errata.errors import CorruptArtifact, UnknownMeasurement
from errata_registry import keys
from errata_registry.jobs.lost_jobs import Whereabouts, count_loss, files_gone, lost_of, worker_died
from errata_registry.jobs.measurements import Measurements
from errata_registry.records import EditStatus, now

logger = logging.getLogger(__name__)


def rebuild_measurements(
    measurements: Measurements[Any, Any], jobs: Whereabouts, in_use: bool, unreadable: list[str]
) -> tuple[int, int]:
    """Write to Redis what the home folder holds of one kind.

    Gives how many there are, and how many were queued again; what cannot be read is added to `unreadable`.

    Args:
        in_use: whether this Redis may be about to queue one that is nowhere, or to hand it to a worker.
    """
    there = queued_again = 0
    for measurement_id in measurements.files.ids():
        try:
            unfinished = _rebuild_one(measurements, measurement_id)
        except UnknownMeasurement:  # withdrawn at this moment
            continue
        except CorruptArtifact as error:
            unreadable.append(str(error))
            continue
        there += 1
        if unfinished and not in_use and measurement_id not in jobs.waiting | jobs.held:
            measurements.jobs.put_measurement(measurements.kind.job, measurement_id)
            queued_again += 1
    return there, queued_again


def _rebuild_one(measurements: Measurements[Any, Any], measurement_id: str) -> bool:
    """Whether it is yet to be finished."""
    recorded = bool(measurements.redis.exists(keys.measurement(measurement_id)))
    outcome = measurements.files.outcome(measurement_id)
    if not recorded:  # Redis forgot its key with it, if it did
        measurements.remember_key(measurements.files.accepted(measurement_id))
    if outcome is not None:
        if not recorded or measurements.record(measurement_id) != outcome:
            measurements.put(outcome)
        return False
    if not recorded or measurement_id not in measurements.unfinished():
        measurements.put(measurements.record(measurement_id))
    return True


def take_up_lost_measurements(measurements: Measurements[Any, Any], jobs: Whereabouts) -> None:
    """Queue those again that no worker has in hand, unless they have ended, are to end, or have lost too many."""
    for measurement_id in measurements.unfinished():
        missing = {measurement_id} - (jobs.waiting | jobs.held)
        try:
            if lost_of(measurements.redis, measurement_id, missing, jobs, measurements.settings.lease_s):
                _take_up(measurements, measurement_id, cost_a_worker=measurement_id in jobs.abandoned | jobs.failed)
        except (CorruptArtifact, UnknownMeasurement, FileNotFoundError) as error:
            logger.error("what no worker has in hand is given up: %s", error)
            _end_without_files(measurements, measurement_id, error)
        except OSError as error:  # of the disk: the next look may find it well
            logger.error("%s cannot be taken up now: %s", measurement_id, error)


def _end_without_files(measurements: Measurements[Any, Any], measurement_id: str, error: Exception) -> None:
    """Let Redis show that one has ended which cannot be read, or be told of, in the home folder."""
    try:
        record = measurements.record(measurement_id)
    except (CorruptArtifact, UnknownMeasurement):  # nothing is left of it
        measurements.redis.srem(keys.unfinished_measurements(measurements.kind.name), measurement_id)
        return
    ended = {"status": EditStatus.FAILED, "error": files_gone(error), "progress": None, "finished_at": now()}
    measurements.put(record.model_copy(update=ended))


def _take_up(measurements: Measurements[Any, Any], measurement_id: str, *, cost_a_worker: bool) -> None:
    if outcome := measurements.files.outcome(measurement_id):
        measurements.put(outcome)
        return
    measurements.files.accepted(measurement_id)  # without its request no worker can do anything
    if measurements.cancel_requested(measurement_id):
        measurements.end_as_cancelled(measurement_id)
        return
    limit = measurements.settings.max_attempts
    if cost_a_worker and count_loss(measurements.redis, measurement_id, measurement_id) >= limit:
        problem = worker_died(f"the {measurements.kind.name}", limit)
        logger.error("%s: %s", measurement_id, problem.detail)
        measurements.update(measurement_id, status=EditStatus.FAILED, error=problem)
        return
    logger.warning("%s is in no worker's hands and is queued again", measurement_id)
    begun = measurements.record(measurement_id).started_at is not None
    if cost_a_worker:
        # Before it is queued: a worker that gets the job at once must not find its own status overwritten.
        measurements.update(measurement_id, status=EditStatus.QUEUED)
    measurements.jobs.put_measurement(measurements.kind.job, measurement_id, at_front=begun)
