"""The queues of jobs, kept by RQ: one of edits, one of the target shards of edits that were cut, one of measurements.

Workers turn to the edits first: those that have begun, then the others in the order in which they came. Shards wait in
a queue of their own, first come first, so that a small edit need not wait for the many shards of a large one.
Evaluations and traces wait behind both, so that measuring holds an edit up for the job at hand at most.

A job is known by its name. That of an edit is the edit's id, and it stands for several jobs of RQ's: the one that
begins the edit, and those that go on with it. (A job cannot put itself into the queue again: RQ forgets at a job's end
whatever has its id.)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Literal, NamedTuple, cast

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.executions import ExecutionRegistry
from rq.job import Dependency, Job
from rq.registry import BaseRegistry
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from errata_registry import keys

_GO_ON = "-go-on-"


def shard_job(edit_id: str, shard: int) -> str:
    """Name of the job that finds the targets of one shard."""
    return f"{edit_id}-shard-{shard}"


def shard_of(job: str) -> int:
    """Number of the shard that a job finds the targets of, from its name."""
    return int(job.rpartition("-")[2])


def edit_of(job: str) -> str:
    """The edit that a job works for; an evaluation or a trace, whose job has its id, stands for itself."""
    return job.partition("-")[0]


class JobQueue:
    """Jobs that wait, and those that a live worker holds. RQ's connection must not decode responses."""

    def __init__(self, connection: Redis, job_timeout_s: int) -> None:
        self._connection = connection
        self._edits = Queue(keys.QUEUE, connection=connection, serializer=JSONSerializer)
        self._shards = Queue(keys.SHARD_QUEUE, connection=connection, serializer=JSONSerializer)
        self._measurements = Queue(keys.MEASUREMENT_QUEUE, connection=connection, serializer=JSONSerializer)
        # What a job gives back lies in the home folder, so RQ keeps no result, and it is told of no retry: the
        # registry decides about lost jobs.
        self._limits = {"job_timeout": job_timeout_s, "result_ttl": 0, "failure_ttl": 3600}

    # Putting in and taking out

    def put_edit(self, edit_id: str) -> None:
        """Queue an edit that is to be begun, behind those that wait, in place of any earlier job of its own."""
        self._forget(self._own_jobs(edit_id))
        self._note(edit_id, edit_id)
        self._edits.enqueue(keys.EDIT_JOB, edit_id, job_id=edit_id, **self._limits)

    def put_begun_edit(self, edit_id: str, shards: Sequence[int] = ()) -> None:
        """Queue an edit that is to be gone on with when the jobs of `shards` are done, before those that wait, in
        place of any earlier job of its own; but the one that a worker holds, which may be the caller's, stays."""
        self._forget(self._own_jobs(edit_id))
        job = f"{edit_id}{_GO_ON}{secrets.token_hex(4)}"
        shard_jobs = [shard_job(edit_id, shard) for shard in shards]
        after = Dependency(shard_jobs, enqueue_at_front=True) if shard_jobs else None
        self._note(edit_id, job)
        self._edits.enqueue(keys.EDIT_JOB, edit_id, job_id=job, depends_on=after, at_front=True, **self._limits)

    def put_shards(self, edit_id: str, shards: Iterable[int], at_front: bool = False) -> None:
        """Queue jobs for shards, in place of earlier ones, behind those that wait or before them."""
        in_order = sorted(shards, reverse=at_front)
        self._forget({shard_job(edit_id, shard) for shard in in_order})
        for shard in in_order:
            job = shard_job(edit_id, shard)
            self._note(edit_id, job)
            self._shards.enqueue(keys.SHARD_JOB, edit_id, shard, job_id=job, at_front=at_front, **self._limits)

    def put_measurement(self, function: str, measurement_id: str, at_front: bool = False) -> None:
        """Queue an evaluation or a trace behind those that wait, or before them, in place of any earlier job of it.

        Args:
            function: `keys.EVALUATION_JOB` or `keys.TRACE_JOB`.
        """
        self._forget({measurement_id})
        self._note(measurement_id, measurement_id)
        self._measurements.enqueue(function, measurement_id, job_id=measurement_id, at_front=at_front, **self._limits)

    def forget_edit(self, edit_id: str) -> None:
        """Forget all jobs of an edit, or of a measurement, that has ended, but for those that a worker holds: RQ
        forgets them at their end. Nothing happens where there are none."""
        if job_ids := self._jobs_of(edit_id):
            self._forget(job_ids)
            dependents = [self._job(job_id).dependents_key for job_id in job_ids]
            self._connection.delete(keys.jobs(edit_id), *dependents)

    def _note(self, edit_id: str, job_id: str) -> None:
        self._connection.sadd(keys.jobs(edit_id), job_id)

    def _jobs_of(self, edit_id: str) -> set[str]:
        noted = {job_id.decode() for job_id in cast(set[bytes], self._connection.smembers(keys.jobs(edit_id)))}
        ended_badly = {lease.job_id for lease in self._leases()} | self._in_registries("failed")
        return noted | {job_id for job_id in ended_badly if edit_of(job_id) == edit_id}

    def _own_jobs(self, edit_id: str) -> set[str]:
        return {job_id for job_id in self._jobs_of(edit_id) if _name(job_id) == edit_id}

    def _forget(self, job_ids: set[str]) -> None:
        """Forget jobs that no worker holds, but for the jobs that depend on them, which may then depend on those put
        in their place.

        RQ's own `Job.delete` fails for a job whose worker died: its run has expired before the list of its runs.
        """
        leases = self._leases()
        gone = job_ids - {lease.job_id for lease in leases if lease.holds}
        ended = [lease.name for lease in leases if lease.job_id in gone]
        with self._connection.pipeline() as pipeline:
            for queue in self._queues:
                for job_id in gone:
                    queue.remove(job_id, pipeline=pipeline)
                for registry in (queue.failed_job_registry, queue.deferred_job_registry, queue.ready_job_registry):
                    _take_out(pipeline, registry, gone)
                _take_out(pipeline, queue.started_job_registry, ended)
            for job_id in gone:
                job = self._job(job_id)
                pipeline.delete(job.key, job.dependencies_key, ExecutionRegistry(job_id, self._connection).key)
                pipeline.srem(keys.jobs(edit_of(job_id)), job_id)
            pipeline.execute()

    def _job(self, job_id: str) -> Job:
        return Job(job_id, connection=self._connection, serializer=JSONSerializer)

    # Looking

    def waiting(self) -> list[str]:
        """Jobs that wait, first come first."""
        return [_name(job_id) for queue in self._queues for job_id in queue.get_job_ids()]

    def num_edits_waiting(self) -> int:
        """How many edits wait to be begun."""
        return sum(job_id == edit_of(job_id) for job_id in self._edits.get_job_ids())

    def num_measurements_waiting(self) -> int:
        """How many evaluations and traces wait."""
        return len(self._measurements.get_job_ids())

    def deferred(self) -> set[str]:
        """Jobs that wait for others to be done."""
        return set(map(_name, self._in_registries("deferred")))

    def held(self) -> set[str]:
        """Jobs that a worker holds which sent its heartbeat in time."""
        return {_name(lease.job_id) for lease in self._leases() if lease.holds}

    def abandoned(self) -> set[str]:
        """Jobs that a worker held and fell silent. (RQ's own cleaning, which is not used, would drop them.)"""
        leases = self._leases()
        held = {_name(lease.job_id) for lease in leases if lease.holds}
        return {_name(lease.job_id) for lease in leases} - held

    def failed(self) -> set[str]:
        """Jobs that could not even say how they ended: what a job raises counts here, not what ends its edit."""
        return set(map(_name, self._in_registries("failed")))

    def num_workers(self) -> int:
        """How many live workers have their model loaded and take jobs."""
        return len(SimpleWorker.all(queue=self._edits))

    @property
    def _queues(self) -> tuple[Queue, ...]:
        """In the order in which workers turn to them."""
        return self._edits, self._shards, self._measurements

    def _in_registries(self, kind: Literal["failed", "deferred"]) -> set[str]:
        found: list[bytes] = []
        for queue in self._queues:
            registry = queue.failed_job_registry if kind == "failed" else queue.deferred_job_registry
            found += cast(list[bytes], self._connection.zrange(registry.key, 0, -1))
        return {job_id.decode() for job_id in found}

    def _leases(self) -> list[_Lease]:
        leases = []
        for queue in self._queues:
            started = queue.started_job_registry
            found = cast(list[tuple[bytes, float]], self._connection.zrange(started.key, 0, -1, withscores=True))
            for name, ends in found:
                leases.append(_Lease(name.decode(), started.parse_job_id(name.decode()), ends >= time.time()))
        return leases


class _Lease(NamedTuple):
    """A worker's hold on a job of RQ's. It `holds` while the worker sends its heartbeats."""

    name: str
    job_id: str
    holds: bool


def _take_out(pipeline: Pipeline, registry: BaseRegistry, members: Collection[str]) -> None:
    if members:
        pipeline.zrem(registry.key, *members)


def _name(job_id: str) -> str:
    return job_id.partition(_GO_ON)[0]
