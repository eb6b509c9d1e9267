"""What has ended, by status and version: a small index in the process, since the jobs of a home folder may be many.

It is filled from the outcomes in the folder, which never change, and holds nothing that is not there.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from pathlib import Path

from errata_client.records import JobStatus, Record

from errata.errors import CorruptArtifact
from errata_registry.stored import read_record


class _Outcome(Record):
    """What is remembered of an outcome. `version` is the one that an evaluation is about, or that an edit made."""

    status: JobStatus
    version: int | None = None


class EndedJobs:
    """The index of one kind of jobs. Safe to use from several threads."""

    def __init__(self, outcome: str) -> None:
        """`outcome` is the name of the file that a job's folder has once it has ended."""
        self._file = outcome
        self._lock = threading.Lock()
        self._outcomes: dict[str, _Outcome] = {}
        self._of_version: dict[int, list[str]] = defaultdict(list)

    def refresh(self, folder: Path, ids: list[str]) -> list[str]:
        """Take in what has ended since, of the jobs `ids`; return those that have not, oldest first."""
        with self._lock:
            unfinished = []
            for job_id in ids:
                if job_id not in self._outcomes and not self._take_in(folder, job_id):
                    unfinished.append(job_id)
            return unfinished

    def _take_in(self, folder: Path, job_id: str) -> bool:
        try:
            outcome = read_record(folder / job_id / self._file, _Outcome)
        except OSError:  # it has not ended, or the disk does not say so now
            return False
        except CorruptArtifact:
            outcome = _Outcome(status=JobStatus.FAILED)
        self._outcomes[job_id] = outcome
        if outcome.version is not None:
            self._of_version[outcome.version].append(job_id)
        return True

    def count(self) -> Counter[JobStatus]:
        """Return how many jobs have ended with each status."""
        with self._lock:
            return Counter(outcome.status for outcome in self._outcomes.values())

    def of_version(self, version: int) -> list[str]:
        """Return the ids of the jobs about a version."""
        with self._lock:
            return list(self._of_version.get(version, ()))

    def successes_of(self, version: int) -> list[str]:
        """Return the ids of the jobs about a version that succeeded, newest first."""
        with self._lock:
            ids = self._of_version.get(version, ())
            return sorted((one for one in ids if self._outcomes[one].status is JobStatus.SUCCEEDED), reverse=True)
