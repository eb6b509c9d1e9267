"""The edit job: one turn at an edit, whatever it asks for."""

from __future__ import annotations

import logging

from errata_registry.records import EditRequest, EditStatus, RebuildRequest

from errata_worker.attempt import WorkerStopping, claim, ending_with_what_goes_wrong
from errata_worker.equipment import Equipment
from errata_worker.new_version import NewVersion
from errata_worker.rebuilt_version import RebuiltVersion
from errata_worker.work import EditWork

logger = logging.getLogger(__name__)


class EditJob:
    """One turn at an edit."""

    def __init__(self, edit_id: str, equipment: Equipment) -> None:
        self._id = edit_id
        self._equipment = equipment
        self._registry = equipment.registry

    def run(self) -> None:
        """Carry the edit out and end it, or share the search for its targets out.

        Raises:
            redis.RedisError, OSError: as `ending_with_what_goes_wrong`.
        """
        try:
            work = EditWork(self._registry, self._id)
            with ending_with_what_goes_wrong(work, self._registry.settings.job_timeout_s):
                edit = claim(work)
                if edit.status.final:
                    return
                if pending := self._registry.shards.pending(self._id):  # recovery will see to them, and to this job
                    logger.info("%s: there are still %d target shards to be done", self._id, len(pending))
                    return
                accepted = self._registry.edit_files.accepted(self._id)
                match accepted.request:
                    case EditRequest() as request:
                        NewVersion(edit, accepted, request, self._equipment).carry_out()
                    case RebuildRequest() as request:
                        RebuiltVersion(edit, request, self._equipment).carry_out()
        except WorkerStopping:
            self._put_back()

    def _put_back(self) -> None:
        """The worker stops. The edit is queued again by whoever finds it without a worker; this was no attempt."""
        edit = self._registry.edit(self._id)
        self._registry.log(self._id, "info", "the worker was told to stop; the edit goes back into the queue")
        self._registry.update_edit(self._id, status=EditStatus.QUEUED, attempts=max(0, edit.attempts - 1))
