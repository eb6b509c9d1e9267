"""All jobs of one kind: how they are accepted, how they stand, how they end.

What is under way lives in Redis (`live`, `queue`), what was accepted and what has ended in the home folder (`folder`).
"""

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic

from errata_client.records import JobStatus, Page, Stage
from opentelemetry.trace import SpanKind
from redis import RedisError

from errata.errors import Conflict, CorruptArtifact, ErrataError, QueueFull, UnknownJob
from errata_registry import telemetry
from errata_registry.commits import FOLDER, Commits
from errata_registry.jobs.folder import AcceptedJob, JobFolder, body_sha256
from errata_registry.jobs.idempotency import IdempotencyKeys
from errata_registry.jobs.kinds import KINDS, Asked, JobKind, Shown
from errata_registry.jobs.live import Event, LiveJobs
from errata_registry.jobs.queue import TaskQueue, job_of
from errata_registry.logs import request_id
from errata_registry.problems import problem_of
from errata_registry.stored import now, page_of

logger = logging.getLogger(__name__)


class JobStore(Generic[Asked, Shown]):
    """The jobs of one kind. Safe to use from several threads; methods may raise `redis.RedisError`."""

    def __init__(
        self,
        kind: JobKind[Asked, Shown],
        home: Path,
        live: LiveJobs,
        queue: TaskQueue,
        max_queued: int,
        commits: Commits = FOLDER,
    ) -> None:
        self.kind = kind
        self.folder = JobFolder(kind, home, commits)
        self.live = live
        self.queue = queue
        self.keys = IdempotencyKeys(self.folder, home)
        self._max_queued = max_queued

    # How they come in

    def create(
        self,
        request: Asked,
        shown: Mapping[str, Any],
        idempotency_key: str | None = None,
        *,
        by: str | None = None,
        route: str = "",
        sha256: str | None = None,
        refuse_conflicts: bool = False,
    ) -> Shown:
        """Accept a request and queue its job; where the same key came with the same body before, return what that made.

        Args:
            shown: what the job's record says of the request.
            by: who sent it.
            route: where it was sent to, for which alone the key counts.
            sha256: of what was asked for, where that is not the request itself.
            refuse_conflicts: whether an edit must not change facts that are there.

        Raises:
            IdempotencyMismatch: the key came with another body within a day.
            QueueFull: as many jobs wait in this kind's queue as may.
        """
        sha256 = sha256 or body_sha256(request)
        if known := self.of_key(idempotency_key, by, sha256, route):
            return known
        if (waiting := self.queue.num_waiting(self.kind.queue)) >= self._max_queued:
            what = " and ".join(f"{kind.name}s" for kind in KINDS if kind.queue == self.kind.queue)
            raise QueueFull(f"{waiting} {what} are waiting, and no more may; try again later")
        with telemetry.span(f"accept {self.kind.name}", SpanKind.PRODUCER) as accepting:
            asked = self.folder.form(
                id=self.kind.new_id(),
                created_at=now(),
                by=by,
                idempotency_key=idempotency_key,
                route=route,
                body_sha256=sha256,
                shown=dict(shown),
                refuse_conflicts=refuse_conflicts,
                request_id=request_id(),
                traceparent=telemetry.traceparent(),
                request=request,
            )
            record = self._accept(self.completed(asked))
            accepting.set_attribute("errata.job.id", record.id)
            return record

    def of_key(self, key: str | None, by: str | None, sha256: str, route: str = "") -> Shown | None:
        """Return the job that came with an idempotency key, None where the key is new. Raises `IdempotencyMismatch`."""
        known = None if key is None else self.keys.job_of(key, by, sha256, route)
        return None if known is None else self.record(known)

    def completed(self, asked: AcceptedJob[Asked]) -> AcceptedJob[Asked]:
        """Return what is to be accepted, with what else is known of it; nothing is yet kept of it."""
        return asked

    def _accept(self, accepted: AcceptedJob[Asked]) -> Shown:
        """Accept a request, from which moment on its job will be done, and queue the job.

        Return how the job stands that the request's key stands for: another one where that was quicker.
        """
        if accepted.idempotency_key is None:
            self.folder.accept(accepted)
        elif (quicker := self.keys.accept(accepted)) != accepted.id:
            return self.record(quicker)
        record = self.folder.first_record(accepted)
        try:
            if self.live.put_new(record):  # else a worker has found it in the folder, and let it go first
                self.queue.put(record.id)
        except RedisError as error:  # recovery finds it in the folder
            logger.warning("%s is accepted and will be queued when Redis answers again: %s", record.id, error)
        return record

    def let_older_go_first(self, job_id: str) -> bool:
        """Queue jobs that were accepted before this one and wait behind it, or nowhere, and this one behind them.

        Redis was full or away when they were accepted, or lost them. So no older edit changes what a newer one did.
        Return False where there are none, or where this one has begun or ended.
        """
        record = self.record(job_id)
        if record.ended or record.started_at:
            return False
        if not self._older(job_id):  # nearly always
            return False
        with self.live.ordering():
            older, waiting = self._older(job_id), set(self.queue.waiting())
            if older:
                self.queue.put_begun(job_id)
            for one in reversed(older):
                if one.id in waiting:
                    self.queue.move_first(one.id)
                elif self.live.put_new(one):
                    self.queue.put_first(one.id)
        return bool(older)

    def _older(self, job_id: str) -> list[Shown]:
        """Return the jobs that were accepted before one, have not begun, and wait in the queue or nowhere."""
        waiting, known = set(self.queue.waiting()), set(self.live.ids())
        older = []
        for one in self.folder.unfinished():
            if one < job_id and (one in waiting or one not in known):
                with suppress(CorruptArtifact, UnknownJob, FileNotFoundError):  # recovery ends those
                    if not (of_one := self._known_here(one)).started_at and not of_one.ended:
                        older.append(of_one)
        return older

    # How they stand

    def record(self, job_id: str) -> Shown:
        """Return how a job stands; one whose outcome cannot be read has failed.

        Raises `UnknownJob`, and `CorruptArtifact` where nothing can be read of it.
        """
        if outcome := self.outcome(job_id):
            return outcome
        if live := self.live.record(job_id, self.kind.record):
            return live
        self.folder.commits.catch_up()  # on another machine, it may have ended since
        return self._known_here(job_id)

    def _known_here(self, job_id: str) -> Shown:
        """The same by what this machine has of it, so that lists ask no bucket for each job."""
        return self.outcome(job_id) or self._without_outcome(job_id)

    def outcome(self, job_id: str) -> Shown | None:
        """Return how a job ended, None while it has not; one whose outcome cannot be read has failed.

        Redis is asked for nothing but what such a one was about. Raises as `record`.
        """
        try:
            return self.folder.outcome(job_id)
        except CorruptArtifact as error:
            return failed(self._without_outcome(job_id), files_gone(error))

    def _without_outcome(self, job_id: str) -> Shown:
        if live := self.live.record(job_id, self.kind.record):
            return live
        return self.folder.first_record(self.folder.accepted(job_id))

    def page(self, limit: int = 20, after: str | None = None, version: int | None = None) -> Page[Shown]:
        """Return a part of the list of jobs, newest first, those about one version where it is given.

        `after` is the id of a job; those older than it are returned.
        """
        ids = self.folder.ids() if version is None else self.folder.of_version(version)
        found: list[Shown] = []
        for job_id in reversed(ids):
            if len(found) > limit:
                break
            if after is not None and job_id >= after:
                continue
            try:
                record = self._known_here(job_id)
            except UnknownJob:  # its folder was made, and its request never came
                continue
            except CorruptArtifact as error:  # `errata verify` tells of it
                logger.warning("left out of a list: %s", error)
                continue
            if version is None or getattr(record, "version", None) == version:
                found.append(record)
        return page_of(found, limit, lambda record: record.id)

    def count(self) -> dict[JobStatus, int]:
        """Return how many jobs have each status."""
        unfinished = self.folder.unfinished()
        counts = self.folder.count_ended()
        for job_id in unfinished:
            with suppress(CorruptArtifact, UnknownJob):
                counts[self._known_here(job_id).status] += 1
        return {status: counts[status] for status in JobStatus}

    def count_stages(self) -> dict[Stage, int]:
        """Return how many jobs are in each stage, of those that have told of one."""
        counts = Counter(progress.stage for progress in self.live.progress_of(self.folder.unfinished()))
        return {stage: counts[stage] for stage in Stage}

    def events(self, job_id: str, after: str = "0") -> list[Event]:
        """Return what happened to a job after the event with id `after`, oldest first.

        Nothing follows a final `status` event, and each job that has ended gives one. Raises `UnknownJob`.
        """
        record = self.record(job_id)
        if record.ended and not self.live.has_events(job_id):  # they have expired
            return [Event(after, "status", record.model_dump(mode="json"))]
        return self.live.events(job_id, after)

    # How they go on

    def update(self, job_id: str, **changes: Any) -> Shown:
        """Change a job's record and tell those who follow it; `finished_at` is set with a final status.

        A job that has ended stays as it ended, and that is what is returned.
        """
        if outcome := self.folder.outcome(job_id):
            return outcome
        record = self.record(job_id).model_copy(update={"progress": None, **changes})
        if not record.ended:
            self.live.put(record)
            if outcome := self.folder.outcome(job_id):  # it ended at this very moment
                self.live.drop(outcome)
                return outcome
            return record
        ended = self.folder.finish(record.model_copy(update={"finished_at": now()}))
        self.let_go(ended)
        return ended

    def give_up(self, job_id: str, error: ErrataError) -> None:
        """End a job as failed, also where its request cannot be read: its record then says no more than that."""
        logger.error("%s: %s", job_id, error)
        try:
            record = self._without_outcome(job_id)
        except (CorruptArtifact, UnknownJob):
            blank = {"id": job_id, "created_at": self.kind.created_at(job_id), **self.kind.blank}
            record = self.kind.record.model_validate(blank)
        self.let_go(self.folder.finish(failed(record, error).model_copy(update={"finished_at": now()})))

    def let_go(self, ended: Shown) -> None:
        """Forget all that was under way of a job that has ended."""
        self.queue.forget(ended.id)
        self.live.drop(ended)

    # How they are stopped

    def cancel(self, job_id: str) -> Shown:
        """Ask a job to stop: one that no worker has in hand has then ended, another one ends at its next step.

        Raises `UnknownJob`, and `Conflict` where it has ended otherwise.
        """
        record = self.record(job_id)
        if record.status is JobStatus.CANCELLED:
            return record
        if record.ended:
            raise Conflict(f"{job_id} has ended: {record.status}")
        self.live.ask_to_stop(job_id)
        if record.status is JobStatus.QUEUED or job_id not in map(job_of, self.queue.whereabouts().held):
            return self.end_as_cancelled(job_id)
        return record

    def end_as_cancelled(self, job_id: str) -> Shown:
        """End a job that was asked to stop."""
        return self.update(job_id, status=JobStatus.CANCELLED)


def failed(record: Shown, error: ErrataError) -> Shown:
    """Return the record of a job that failed for this reason."""
    return record.model_copy(update={"status": JobStatus.FAILED, "error": problem_of(error), "progress": None})


def files_gone(error: Exception) -> CorruptArtifact:
    """Return why a job has failed whose files in the home folder are damaged or gone, as `error` says."""
    return CorruptArtifact(f"what the home folder held of it is damaged or gone: {error}")
