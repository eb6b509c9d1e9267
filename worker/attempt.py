"""Working for an edit: how a job begins it, and how the edit ends with what goes wrong in one of its jobs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from redis import RedisError
from rq.timeouts import JobTimeoutException

from errata.errors import (
    Cancelled,
    ErrataError,
    FactConflict,
    InvalidFacts,
    InvalidHyperparameters,
    NotFinite,
    UnknownFacts,
    UnknownVersion,
)
from errata.registry.amendment import places_of
from errata.registry.records import Edit, EditRequest, EditStatus, Problem, now
from errata.registry.registry import Registry

logger = logging.getLogger(__name__)


class WorkerStopping(Exception):
    """The worker was told to stop: what it has in hand goes back into the queue."""


def claim(registry: Registry, edit_id: str) -> Edit:
    """The edit, begun if it was waiting; it may have ended, or end here where it was cancelled."""
    edit = registry.edit(edit_id)
    if edit.status.final:
        return edit
    if registry.cancel_requested(edit_id) and (ended := registry.end_as_cancelled(edit_id)).status.final:
        return ended
    if edit.status is EditStatus.QUEUED:
        logger.info("%s: attempt %d", edit_id, edit.attempts + 1)
        changes = {"attempts": edit.attempts + 1, "started_at": edit.started_at or now()}
        edit = registry.update_edit(edit_id, status=EditStatus.RUNNING, **changes)
    return edit


@contextmanager
def ending_with_what_goes_wrong(registry: Registry, edit_id: str) -> Iterator[None]:
    """End the edit where the block is cancelled or fails.

    Raises:
        redis.RedisError: the edit has not ended, so it is taken up again when Redis is back.
        WorkerStopping: nor has it here.
        OSError: nor here, where its end could not be written. It counts as a lost worker.
    """
    try:
        yield
    except (RedisError, WorkerStopping):
        raise
    except Cancelled:
        registry.end_as_cancelled(edit_id)
    except Exception as error:
        if not isinstance(error, ErrataError):
            logger.exception("%s failed", edit_id)
        problem = _problem(error, registry.settings.job_timeout_s)
        if isinstance(error, FactConflict | UnknownFacts):
            request = registry.edit_files.accepted(edit_id).request
            assert isinstance(request, EditRequest)
            problem = problem.model_copy(update={"errors": places_of(error, request)})
        registry.update_edit(edit_id, status=EditStatus.FAILED, error=problem)


def _problem(error: Exception, limit_s: int) -> Problem:
    match error:
        case InvalidFacts() | InvalidHyperparameters():
            return Problem.of_kind("invalid-edit", 422, str(error))
        case UnknownVersion():
            return Problem.of_kind("unknown-version", 404, str(error))
        case UnknownFacts():
            return Problem.of_kind("unknown-facts", 404, str(error))
        case FactConflict():
            return Problem.of_kind("fact-conflict", 409, str(error))
        case NotFinite():
            return Problem.of_kind("not-finite", 500, str(error))
        case ErrataError():
            return Problem.of_kind("edit-failed", 500, str(error))
        case JobTimeoutException():
            return Problem.of_kind("timed-out", 500, f"the edit took longer than {limit_s} seconds")
        case torch.OutOfMemoryError():
            detail = f"the device ran out of memory: {str(error).splitlines()[0]}"
            return Problem.of_kind("out-of-memory", 500, detail)
        case _:
            detail = f"unexpected {type(error).__name__}: {error}; the worker's log has its traceback"
            return Problem.of_kind("edit-failed", 500, detail)
