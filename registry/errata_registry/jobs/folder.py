"""The files of jobs: `<kind>s/<id>/request.json` once a job is accepted, and `outcome.json` once it has ended.

A job is accepted at the moment at which its request has its name, and has ended at the moment at which its outcome has.
What its worker leaves besides lies in the same folder: `facts.jsonl`, `cases.jsonl`, `trace.json`, figures. Its outcome
names these with their checksums.
"""

import hashlib
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple

from errata_client.records import Edit, JobStatus, Record
from pydantic import BaseModel, Field, model_validator

from errata.errors import CorruptArtifact
from errata.files import durable
from errata.files.checksums import with_checksum
from errata_registry.commits import FOLDER, Commits
from errata_registry.jobs.kinds import Asked, JobKind, Shown
from errata_registry.stored import StoredFile, StoredRecord, now, read_record, text_of

REQUEST = "request.json"
OUTCOME = "outcome.json"
JUST_NOW_S = 2.0


class AcceptedJob(StoredRecord, Generic[Asked]):
    """`request.json`: a request, who sent it and when.

    Attributes:
        route: where the idempotency key came to; empty where it counts for all routes.
        body_sha256: what a repetition under the same idempotency key is known by.
        shown: what the job's record says of the request while it waits.
        refuse_conflicts: whether an edit must not change facts that are there.
        request_id: of the HTTP request that asked for it, where one did.
        traceparent: the span that accepted it, to which each turn at the job belongs.
    """

    format: int = 2
    id: str
    created_at: datetime
    by: str | None = None
    idempotency_key: str | None = None
    route: str = ""
    body_sha256: str
    shown: dict[str, Any]
    refuse_conflicts: bool = False
    request_id: str | None = None
    traceparent: str | None = None
    request: Asked

    @model_validator(mode="before")
    @classmethod
    def _read_form_1(cls, values: Any) -> Any:
        """In form 1, edits kept what they were foreseen to change, and the rest was taken from the request."""
        if isinstance(values, dict) and "foreseen" in values:
            shown = {**shown_of(values["request"]), **values["foreseen"], "retries": values.get("retries")}
            return {**values, "shown": shown}
        return values


def shown_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the record of an edit says of its request, which is given by its fields."""
    if "rebuild" in request:
        return {"facts": 0, "rebuild": True, "version": request["rebuild"]}
    told = {name: request[name] for name in Edit.model_fields.keys() & request.keys()}
    return {**told, "facts": len(request.get("facts", ()))}


def body_sha256(request: BaseModel, *said: object) -> str:
    """Return what two requests share that ask for the same, by what is given in them and `said` beside them."""
    asked = request.model_dump_json(exclude_unset=True) + repr(said)
    return hashlib.sha256(asked.encode()).hexdigest()


class _Outcome(Record):
    """What is remembered of an outcome. `version` is the one that an evaluation is about, or that an edit made."""

    status: JobStatus
    version: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Taken(NamedTuple):
    """How many jobs have ended, and how many seconds they had taken from their beginning, all together."""

    jobs: int = 0
    seconds: float = 0.0


class _Left(Record):
    """What `outcome.json` says of the files beside it, which is no part of the record that is shown."""

    files: dict[str, StoredFile] = Field(default={})

    @classmethod
    def of(cls, folder: Path) -> "_Left":
        """Describe what a worker has left in the folder of its job, as far as it can be read."""
        files = {}
        for path in sorted(folder.iterdir()):
            if path.name not in (REQUEST, OUTCOME) and not path.name.startswith(".") and path.is_file():
                with suppress(OSError):
                    files[path.name] = StoredFile.of(path)
        return cls(files=files)


class JobFolder(Generic[Asked, Shown]):
    """The files of all jobs of one kind. Safe to use from several threads and processes.

    A home folder may hold many jobs, so a small index of those that have ended is kept in the process; `unfinished`
    fills it from their outcomes, which never change.
    """

    def __init__(self, kind: JobKind[Asked, Shown], home: Path, commits: Commits = FOLDER) -> None:
        self.kind = kind
        self.commits = commits
        self.path = home / f"{kind.name}s"
        self.path.mkdir(parents=True, exist_ok=True)
        self.form: type[AcceptedJob[Asked]] = AcceptedJob[kind.request]  # type: ignore[name-defined]
        self._lock = threading.Lock()
        self._outcomes: dict[str, _Outcome] = {}
        self._of_version: dict[int, list[str]] = defaultdict(list)
        self._listed: tuple[float, list[str]] = 0.0, []
        self._looks_since = now()
        self._taken: dict[JobStatus, Taken] = defaultdict(Taken)

    def of(self, job_id: str) -> Path:
        """Return the folder of a job. Raises `UnknownJob` for what is no id of this kind."""
        if not self.kind.is_id(job_id):
            raise self.kind.unknown(f"there is no {self.kind.name} {job_id[:100]!r}")
        return self.path / job_id

    def file(self, job_id: str, name: str) -> Path:
        """Return a file that came of a job.

        Raises `UnknownJob`, and `CorruptArtifact` where it is missing or not what it was when the job ended.
        """
        path = self.of(job_id) / name
        if expected := self.files(job_id).get(name):
            expected.require(path, job_id)
        elif not path.exists():
            raise CorruptArtifact(f"{job_id}: {name} is missing")
        return path

    def files(self, job_id: str) -> dict[str, StoredFile]:
        """Return the files that a job had left when it ended, by name; none where nobody noted them.

        Raises `UnknownJob`, `CorruptArtifact`.
        """
        try:
            return read_record(self.of(job_id) / OUTCOME, _Left, f"{job_id}: {OUTCOME}").files
        except FileNotFoundError:
            return {}

    # One job

    def accept(self, accepted: AcceptedJob[Asked]) -> None:
        """Keep a request; from now on the job is accepted."""
        folder = self.of(accepted.id)
        folder.mkdir()
        try:
            self.commits.write(folder / REQUEST, text_of(accepted))
        except OSError:
            folder.rmdir()
            raise
        durable.sync(self.path)

    def accept_from(self, source: Path, job_id: str) -> None:
        """Let a file be the request of a job, unless it has one; from now on the job is accepted."""
        folder = self.of(job_id)
        folder.mkdir(exist_ok=True)
        self.commits.link(source, folder / REQUEST)

    def accepted(self, job_id: str) -> AcceptedJob[Asked]:
        """Return the request of a job. Raises `UnknownJob`, `CorruptArtifact`."""
        try:
            return read_record(self.of(job_id) / REQUEST, self.form, f"{job_id}: {REQUEST}")
        except FileNotFoundError:
            raise self.kind.unknown(f"there is no {self.kind.name} {job_id!r}") from None

    def first_record(self, accepted: AcceptedJob[Asked]) -> Shown:
        """Return the record that a job begins with."""
        said = {"id": accepted.id, "by": accepted.by, "created_at": accepted.created_at}
        return self.kind.record.model_validate({**accepted.shown, **said})

    def finish(self, record: Shown) -> Shown:
        """Keep how a job ended. What ended stays as it ended: return the outcome that counts."""
        folder = self.of(record.id)
        folder.mkdir(exist_ok=True)  # it ends visibly even where somebody removed it
        left, ended = _Left.of(folder), record.model_dump_json(indent=1)
        outcome_text = with_checksum(left.model_dump_json().removesuffix("}") + "," + ended.removeprefix("{"))
        if self.commits.write_once(folder / OUTCOME, outcome_text, [folder / name for name in left.files]):
            return record
        outcome = self.outcome(record.id)
        assert outcome is not None
        return outcome

    def outcome(self, job_id: str) -> Shown | None:
        """Return how a job ended, None while it has not. Raises `UnknownJob`, `CorruptArtifact`."""
        try:
            return read_record(self.of(job_id) / OUTCOME, self.kind.record, f"{job_id}: {OUTCOME}")
        except FileNotFoundError:
            return None

    # All of them

    def ids(self) -> list[str]:
        """Return the ids of all jobs, oldest first."""
        changed = self.path.stat().st_mtime
        listed, ids = self._listed
        # The moment of a change is noted too coarsely to tell two changes apart that were made at nearly the same time.
        if changed != listed or time.time() - changed < JUST_NOW_S:
            ids = sorted(filter(self.kind.is_id, os.listdir(self.path)))
            self._listed = changed, ids
        return ids

    def unfinished(self) -> list[str]:
        """Take in what has ended since; return the ids of jobs that were accepted and have not, oldest first."""
        ids = self.ids()
        with self._lock:
            for job_id in self._outcomes.keys() - set(ids):  # it was forgotten
                if (version := self._outcomes.pop(job_id).version) is not None:
                    self._of_version[version].remove(job_id)
            unfinished = [job_id for job_id in ids if job_id not in self._outcomes and not self._take_in(job_id)]
        return [job_id for job_id in unfinished if self.is_accepted(job_id)]

    def _take_in(self, job_id: str) -> bool:
        try:
            outcome = read_record(self.path / job_id / OUTCOME, _Outcome)
        except OSError:  # it has not ended, or the disk does not say so now
            return False
        except CorruptArtifact:
            outcome = _Outcome(status=JobStatus.FAILED)
        self._outcomes[job_id] = outcome
        began, ended = outcome.started_at, outcome.finished_at
        if began is not None and ended is not None and ended >= self._looks_since:
            jobs, seconds = self._taken[outcome.status]
            self._taken[outcome.status] = Taken(jobs + 1, seconds + (ended - began).total_seconds())
        if outcome.version is not None:
            self._of_version[outcome.version].append(job_id)
        return True

    def is_accepted(self, job_id: str) -> bool:
        """Return True if there is a request of a job. Raises `UnknownJob` for what is no id of this kind."""
        return (self.of(job_id) / REQUEST).exists()

    def count_ended(self) -> Counter[JobStatus]:
        """Return how many jobs had ended with each status when `unfinished` was last asked."""
        with self._lock:
            return Counter(outcome.status for outcome in self._outcomes.values())

    def taken(self) -> dict[JobStatus, Taken]:
        """Return what jobs have taken that ended since this process began, by how they ended, up to when `unfinished`
        was last asked. It only grows, also where jobs are forgotten."""
        with self._lock:
            return dict(self._taken)

    def of_version(self, version: int) -> list[str]:
        """Return the ids of the jobs about a version, and of all that have not ended, oldest first."""
        unfinished = self.unfinished()
        with self._lock:
            return sorted([*self._of_version.get(version, ()), *unfinished])

    def newest_success_of(self, version: int) -> Shown | None:
        """Return the newest job about a version that had succeeded when `unfinished` was last asked.

        One that cannot be read any more is passed over.
        """
        with self._lock:
            ids = self._of_version.get(version, ())
            succeeded = [job_id for job_id in ids if self._outcomes[job_id].status is JobStatus.SUCCEEDED]
        for job_id in sorted(succeeded, reverse=True):
            with suppress(CorruptArtifact):
                if outcome := self.outcome(job_id):
                    return outcome
        return None
