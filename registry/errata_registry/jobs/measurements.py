"""Evaluations, or traces: how they come in, how they stand, how they end.

As with edits, the home folder is written first, and Redis holds the queue and the live state.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Generic, cast

from redis import Redis
from redis.client import Pipeline

from errata.errors import Conflict, QueueFull
from errata_registry import keys
from errata_registry.jobs.idempotency import IdempotencyKeys
from errata_registry.jobs.measurement_files import AcceptedMeasurement, MeasurementFiles, body_sha256
from errata_registry.jobs.measurement_kinds import Asked, Measured, MeasurementKind
from errata_registry.jobs.queue import JobQueue
from errata_registry.pages import Page, page_of
from errata_registry.records import EditStatus, Progress, now
from errata_registry.settings import Settings

UNFINISHED_TTL_S = 7 * 24 * 3600


class Measurements(Generic[Asked, Measured]):
    """All measurements of one kind. Safe to use from several threads; any method may raise `redis.RedisError`."""

    def __init__(
        self, kind: MeasurementKind[Asked, Measured], settings: Settings, redis: Redis, jobs: JobQueue
    ) -> None:
        self.kind = kind
        self.files = MeasurementFiles(kind, settings.home)
        self.settings = settings
        self.redis = redis
        self.jobs = jobs
        self._idempotency_keys = IdempotencyKeys(redis, kind.name)

    # How they come in

    def create(
        self, request: Asked, shown: Mapping[str, Any], idempotency_key: str | None = None, *, by: str | None = None
    ) -> Measured:
        """Queue one; where the same key came with the same body before, it is what that made.

        Args:
            shown: what its record says of the request.
            by: who sent it.

        Raises:
            IdempotencyMismatch: the key came with another body within 24 hours.
            QueueFull: `settings.max_queued_measurements` are waiting.
        """
        if idempotency_key is not None and (known := self.of_key(idempotency_key, request)):
            return known
        if (waiting := self.jobs.num_measurements_waiting()) >= self.settings.max_queued_measurements:
            raise QueueFull(f"{waiting} evaluations and traces are waiting, and no more may; try again later")
        accepted = self.files.form(
            id=f"{self.kind.prefix}_{time.time_ns():016x}{secrets.token_hex(4)}",
            created_at=now(),
            by=by,
            idempotency_key=idempotency_key,
            body_sha256=body_sha256(request),
            shown=dict(shown),
            request=request,
        )
        self.files.accept(accepted)
        if not self.remember_key(accepted):  # another request with this key was quicker
            self.files.withdraw(accepted.id)
            return self.create(request, shown, idempotency_key, by=by)
        record = self.put(self._queued(accepted))
        self.jobs.put_measurement(self.kind.job, record.id)
        return record

    def of_key(self, idempotency_key: str, request: Asked) -> Measured | None:
        """What came with a key, None where it is new. Raises `IdempotencyMismatch` where its body was another one."""
        known = self._idempotency_keys.known(idempotency_key, body_sha256(request))
        return None if known is None else self._put_if_lost(known)

    def remember_key(self, accepted: AcceptedMeasurement[Asked]) -> bool:
        """Let a request's idempotency key stand for what it made. False where it stands for something else."""
        return self._idempotency_keys.remember(
            accepted.idempotency_key, accepted.body_sha256, accepted.id, accepted.created_at
        )

    def _queued(self, accepted: AcceptedMeasurement[Asked]) -> Measured:
        of_request = {"id": accepted.id, "by": accepted.by, "created_at": accepted.created_at}
        return self.kind.record.model_validate({**accepted.shown, **of_request})

    def _put_if_lost(self, measurement_id: str) -> Measured:
        """What a key stands for. One that Redis has lost counts as unfinished from then on, and recovery queues it."""
        record = self.record(measurement_id)
        if not record.status.final and not self.redis.exists(keys.measurement(measurement_id)):
            self.put(record)
        return record

    # How they stand

    def record(self, measurement_id: str) -> Measured:
        """How one stands. Raises `UnknownMeasurement`, `CorruptArtifact`."""
        self.files.folder(measurement_id)  # nothing is looked for that is no id of this kind
        names = (keys.measurement(measurement_id), keys.measurement_progress(measurement_id))
        found, progress = cast(list[str | None], self.redis.mget(*names))
        if found is None:
            return self.files.outcome(measurement_id) or self._queued(self.files.accepted(measurement_id))
        record = self.kind.record.model_validate_json(found)
        if progress is not None and record.status is EditStatus.RUNNING:
            return record.model_copy(update={"progress": Progress.model_validate_json(progress)})
        return record

    def page(self, limit: int = 20, after: str | None = None, version: int | None = None) -> Page[Measured]:
        """Newest first; those of one version only, where it is given. The cursor is an id."""
        kind = self.kind.name
        name = keys.measurements(kind) if version is None else keys.measurements_of(kind, version)
        found = self.redis.zrevrangebylex(name, "+" if after is None else f"({after}", "-", start=0, num=limit + 1)
        return page_of([self.record(known) for known in cast(list[str], found)], limit, lambda record: record.id)

    def newest_success_of(self, version: int) -> Measured | None:
        """The newest one of a version that succeeded."""
        name = keys.succeeded_measurements_of(self.kind.name, version)
        newest = cast(list[str], self.redis.zrevrangebylex(name, "+", "-", start=0, num=1))
        return self.record(newest[0]) if newest else None

    def unfinished(self) -> list[str]:
        """Those that are queued or running, oldest first."""
        return sorted(cast(set[str], self.redis.smembers(keys.unfinished_measurements(self.kind.name))))

    def update(self, measurement_id: str, **changes: Any) -> Measured:
        """Change a record; `finished_at` is set with a final status. One that has ended stays as it ended, and that is
        what is returned."""
        if outcome := self.files.outcome(measurement_id):
            return self.put(outcome)
        record = self.record(measurement_id).model_copy(update={"progress": None, **changes})
        if record.status.final:
            return self.put(self.files.finish(record.model_copy(update={"finished_at": now()})))
        self.put(record)
        if outcome := self.files.outcome(measurement_id):  # it ended at this very moment
            return self.put(outcome)
        return record

    def put(self, record: Measured) -> Measured:
        """Write a record to Redis as it is, with its place in the lists; the jobs of one that has ended go."""
        if record.status.final:
            self.jobs.forget_edit(record.id)
        with self.redis.pipeline(transaction=True) as pipeline:
            self._write(pipeline, record)
            pipeline.execute()
        return record

    def _write(self, pipeline: Pipeline, record: Measured) -> None:
        kind, version = self.kind.name, record.of_version
        pipeline.set(keys.measurement(record.id), record.model_dump_json())
        pipeline.zadd(keys.measurements(kind), {record.id: 0})
        if version is not None:
            pipeline.zadd(keys.measurements_of(kind, version), {record.id: 0})
            if record.status is EditStatus.SUCCEEDED:
                pipeline.zadd(keys.succeeded_measurements_of(kind, version), {record.id: 0})
        if record.status.final:
            pipeline.srem(keys.unfinished_measurements(kind), record.id)
            for name in (keys.measurement_progress, keys.missing_jobs, keys.losses):
                pipeline.delete(name(record.id))
        else:
            pipeline.sadd(keys.unfinished_measurements(kind), record.id)
        if record.status is EditStatus.QUEUED:  # what comes is another attempt
            pipeline.delete(keys.measurement_progress(record.id))

    def progress(self, measurement_id: str, progress: Progress) -> None:
        """Note how far a running one is."""
        self.redis.set(keys.measurement_progress(measurement_id), progress.model_dump_json(), ex=UNFINISHED_TTL_S)

    # How they are stopped

    def request_cancel(self, measurement_id: str) -> Measured:
        """Ask one to stop: one that no worker has in hand has then ended, another one ends at its next step.

        Raises:
            UnknownMeasurement: there is none.
            Conflict: it has ended otherwise.
        """
        record = self.record(measurement_id)
        if record.status is EditStatus.CANCELLED:
            return record
        if record.status.final:
            raise Conflict(f"{measurement_id} has ended: {record.status}")
        self.redis.set(keys.measurement_cancel(measurement_id), 1, ex=UNFINISHED_TTL_S)
        if record.status is EditStatus.QUEUED or measurement_id not in self.jobs.held():
            return self.end_as_cancelled(measurement_id)
        return record

    def cancel_requested(self, measurement_id: str) -> bool:
        """Whether it is to stop."""
        return bool(self.redis.exists(keys.measurement_cancel(measurement_id)))

    def end_as_cancelled(self, measurement_id: str) -> Measured:
        """End one that was asked to stop."""
        return self.update(measurement_id, status=EditStatus.CANCELLED)
