"""Idempotency keys: for a day, a client's key stands for the job that came with it.

The file of a key is the accepted request itself, under a second name. So a key is taken and its job made known in one
step, whatever becomes of Redis, and whoever comes second with a key finishes what the first may have been killed in.
"""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Generic

from errata.errors import CorruptArtifact, IdempotencyMismatch, UnknownJob
from errata_registry.commits import FOLDER, Commits
from errata_registry.jobs.folder import REQUEST, AcceptedJob, JobFolder
from errata_registry.jobs.kinds import Asked, Shown
from errata_registry.stored import read_record, text_of

LIFETIME_S = 24 * 3600


class IdempotencyKeys(Generic[Asked, Shown]):
    """The keys of one kind of jobs. Each client, by the name of its API key, has keys of its own for each route."""

    def __init__(self, folder: JobFolder[Asked, Shown], home: Path) -> None:
        self._commits = folder.commits
        self._folder = folder
        self._path = home / "idempotency"
        self._path.mkdir(parents=True, exist_ok=True)

    def job_of(self, key: str, by: str | None, body_sha256: str, route: str = "") -> str | None:
        """Return the id of the job that came to a route with a key, None where the key is new.

        Raises `IdempotencyMismatch` where it came with another body.
        """
        # A key that was taken before keys were bound to routes counts for all of them.
        for path in (self._file(key, by, route), self._file(key, by)):
            with suppress(FileNotFoundError):
                return self._job_in(path, key, body_sha256)
        return None

    def _job_in(self, path: Path, key: str, body_sha256: str) -> str:
        """Return the id of the job that the file of a key stands for. Raises `FileNotFoundError`, and as `job_of`."""
        if _is_past(path):
            self._commits.remove_if(path, _is_past)
        accepted = read_record(path, self._folder.form, f"the request of the idempotency key {key!r}")
        # In form 1 bodies were told apart by another hash: the key counts all the same.
        if accepted.format > 1 and accepted.body_sha256 != body_sha256:
            raise IdempotencyMismatch(f"this idempotency key belongs to {accepted.id}, which has another body")
        self._folder.accept_from(path, accepted.id)
        return accepted.id

    def accept(self, accepted: AcceptedJob[Asked]) -> str:
        """Accept a request under its key; return the id of the job that the key stands for, which may be another one.

        Raises `IdempotencyMismatch` where it came with another body, at this very moment.
        """
        assert accepted.idempotency_key is not None
        key, by, route = accepted.idempotency_key, accepted.by, accepted.route
        path = self._file(key, by, route)
        if self._commits.write_once(path, text_of(accepted)):
            self._folder.accept_from(path, accepted.id)
            return accepted.id
        return self.job_of(key, by, accepted.body_sha256, route) or self.accept(accepted)

    def remember_those_of_form_1(self) -> None:
        """Let the keys of requests that were accepted before keys had files stand for their jobs."""
        for job_id in self._folder.ids():
            request = self._folder.of(job_id) / REQUEST
            with suppress(UnknownJob, CorruptArtifact, FileNotFoundError, FileExistsError):
                accepted = self._folder.accepted(job_id)
                if accepted.idempotency_key is not None and not _is_past(request):
                    os.link(request, self._file(accepted.idempotency_key, accepted.by))

    def _file(self, key: str, by: str | None, route: str = "") -> Path:
        said = "\x1f".join((self._folder.kind.name, by or "", key, *filter(None, (route,))))
        return self._path / f"{hashlib.sha256(said.encode()).hexdigest()}.json"


def _is_past(path: Path) -> bool:
    """Return True if a request was written so long ago that its key has had its day. Raises `FileNotFoundError`."""
    return path.stat().st_mtime < time.time() - LIFETIME_S


def forget_old_keys(home: Path, commits: Commits = FOLDER) -> None:
    """Remove the keys that have had their day, and what a killed process left half written."""
    for path in (home / "idempotency").iterdir():
        with suppress(FileNotFoundError):
            if _is_past(path):
                commits.remove_if(path, _is_past)
