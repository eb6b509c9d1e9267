"""Working for an edit or a measurement: how a job begins it, and how that ends with what goes wrong in a job of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from errata_registry.records import EditStatus, Problem, now
from redis import RedisError
from rq.timeouts import JobTimeoutException

from errata.errors import (
    Cancelled,
    Conflict,
    ErrataError,
    FactConflict,
    InvalidFacts,
    InvalidHyperparameters,
    NotFinite,
    TracingError,
    UnknownFacts,
    UnknownVersion,
    WeightsDropped,
)
from errata_worker.work import Record, Standing, Work

logger = logging.getLogger(__name__)


class WorkerStopping(Exception):
    """The worker was told to stop: what it has in hand goes back into the queue."""


def claim(work: Work[Record]) -> Record:
    """How it stands, begun if it was waiting; it may have ended, or end here where it was cancelled."""
    record = work.record()
    if record.status.final:
        return record
    if work.cancel_requested() and (ended := work.end_as_cancelled()).status.final:
        return ended
    if record.status is EditStatus.QUEUED:
        logger.info("%s: attempt %d", work.id, record.attempts + 1)
        changes = {"attempts": record.attempts + 1, "started_at": record.started_at or now()}
        record = work.update(status=EditStatus.RUNNING, **changes)
    return record


@contextmanager
def ending_with_what_goes_wrong(work: Work[Standing], limit_s: int) -> Iterator[None]:
    """End the edit, or the measurement, where the block is cancelled or fails.

    Args:
        limit_s: seconds that the job may take.

    Raises:
        redis.RedisError: it has not ended, so it is taken up again when Redis is back.
        WorkerStopping: nor has it here.
        OSError: nor here, where its end could not be written. It counts as a lost worker.
    """
    try:
        yield
    except (RedisError, WorkerStopping):
        raise
    except Cancelled:
        work.end_as_cancelled()
    except Exception as error:
        if not isinstance(error, ErrataError):
            logger.exception("%s failed", work.id)
        problem = _problem(error, work.called, limit_s).model_copy(update={"errors": work.places_of(error)})
        work.update(status=EditStatus.FAILED, error=problem)


def _problem(error: Exception, called: str, limit_s: int) -> Problem:
    match error:
        case InvalidFacts() | InvalidHyperparameters() | TracingError():
            return Problem.of_kind(f"invalid-{called}", 422, str(error))
        case UnknownVersion():
            return Problem.of_kind("unknown-version", 404, str(error))
        case UnknownFacts():
            return Problem.of_kind("unknown-facts", 404, str(error))
        case FactConflict():
            return Problem.of_kind("fact-conflict", 409, str(error))
        case Conflict():
            return Problem.of_kind("conflict", 409, str(error))
        case WeightsDropped():
            return Problem.of_kind("weights-dropped", 409, str(error))
        case NotFinite():
            return Problem.of_kind("not-finite", 500, str(error))
        case ErrataError():
            return Problem.of_kind(f"{called}-failed", 500, str(error))
        case JobTimeoutException():
            return Problem.of_kind("timed-out", 500, f"the {called} took longer than {limit_s} seconds")
        case torch.OutOfMemoryError():
            detail = f"the device ran out of memory: {str(error).splitlines()[0]}"
            return Problem.of_kind("out-of-memory", 500, detail)
        case _:
            detail = f"unexpected {type(error).__name__}: {error}; the worker's log has its traceback"
            return Problem.of_kind(f"{called}-failed", 500, detail)
