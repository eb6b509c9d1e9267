"""The job of an evaluation or a trace: one worker's turn at it, from claim to end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias

from errata_registry.jobs.measurement_kinds import Asked, Measured
from errata_registry.jobs.measurements import Measurements
from errata_registry.records import EditStatus
from errata_registry.registry import Registry

from errata_worker.attempt import WorkerStopping, claim, ending_with_what_goes_wrong
from errata_worker.equipment import Equipment
from errata_worker.progress import ProgressReport
from errata_worker.resident import Resident
from errata_worker.work import MeasurementWork

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn(Generic[Asked, Measured]):
    """What a measurement works with.

    Attributes:
        record: as it was begun.
        request: what was asked for.
        folder: where its files are to lie.
        report: tells how far it is; each call may end it.
    """

    record: Measured
    request: Asked
    folder: Path
    registry: Registry
    resident: Resident
    report: ProgressReport


Measure: TypeAlias = Callable[[Turn[Asked, Measured]], Mapping[str, Any]]
"""Measures, writes its files, and gives what its record says of them."""


def carry_out(
    measurements: Measurements[Asked, Measured],
    measurement_id: str,
    equipment: Equipment,
    measure: Measure[Asked, Measured],
) -> None:
    """Measure and end. It may be run more than once, and gives the same each time.

    Raises:
        redis.RedisError, OSError: as `ending_with_what_goes_wrong`.
    """
    work = MeasurementWork(measurements, measurement_id)
    try:
        with ending_with_what_goes_wrong(work, measurements.settings.job_timeout_s):
            record = claim(work)
            if record.status.final:
                return
            turn = Turn(
                record,
                measurements.files.accepted(measurement_id).request,
                measurements.files.folder(measurement_id),
                equipment.registry,
                equipment.resident,
                ProgressReport(measurements, measurement_id, equipment.must_stop),
            )
            found = measure(turn)
            # Said again in case that Redis has lost its memory since it was claimed.
            noted = {"attempts": record.attempts, "started_at": record.started_at}
            work.update(status=EditStatus.SUCCEEDED, **noted, **found)
            logger.info("%s: done", measurement_id)
    except WorkerStopping:
        # It is queued again by whoever finds it without a worker; this was no attempt.
        logger.info("%s goes back into the queue", measurement_id)
        work.update(status=EditStatus.QUEUED, attempts=max(0, work.record().attempts - 1))
