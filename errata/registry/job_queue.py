"""The queue of jobs, kept by RQ: one for each edit, and one for each target shard of an edit that was cut.

A job is known by its name. That of an edit is the edit's id, and it stands for two jobs of RQ's: the one that begins
the edit, and, where that one cuts the edit, the one that goes on when the shards are done. (A job cannot put itself
into the queue again: RQ forgets at a job's end whatever has its id.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import cast

from redis import Redis
from rq import Queue
from rq.executions import ExecutionRegistry
from rq.job import Dependency, Job
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from errata.registry import keys

BUILD_SUFFIX = "-build"


def shard_job(edit_id: str, shard: int) -> str:
    """Name of the job that finds the targets of one shard."""
    return f"{edit_id}-shard-{shard}"


def edit_of(job: str) -> str:
    """The edit that a job works for."""
    return job.partition("-")[0]


class JobQueue:
    """Jobs that wait, and those that a live worker holds. RQ's connection must not decode responses."""

    def __init__(self, connection: Redis, job_timeout_s: int) -> None:
        self._queue = Queue(keys.QUEUE, connection=connection, serializer=JSONSerializer)
        # What a job gives back lies in the home folder, so RQ keeps no result, and it is told of no retry: the
        # registry decides about lost jobs.
        self._limits = {"job_timeout": job_timeout_s, "result_ttl": 0, "failure_ttl": 3600}

    # Putting in and taking out

    def put_edit(self, edit_id: str) -> None:
        """Queue the edit's job, in place of any earlier one."""
        self.remove_edit(edit_id)
        self._queue.enqueue(keys.EDIT_JOB, edit_id, job_id=edit_id, **self._limits)

    def put_shards(self, edit_id: str, shards: Iterable[int]) -> None:
        """Queue jobs for shards, in place of earlier ones, before whatever waits: an edit that has begun goes first."""
        for shard in sorted(shards, reverse=True):
            job = shard_job(edit_id, shard)
            self._forget(job)
            self._queue.enqueue(keys.SHARD_JOB, edit_id, shard, job_id=job, at_front=True, **self._limits)

    def put_build(self, edit_id: str, shards: Sequence[int]) -> None:
        """Queue the job that goes on with the edit, in place of any earlier one, to be run when the jobs of `shards`
        are done."""
        job = edit_id + BUILD_SUFFIX
        self._forget(job)
        shard_jobs = [shard_job(edit_id, shard) for shard in shards]
        after = Dependency(shard_jobs, enqueue_at_front=True) if shard_jobs else None
        self._queue.enqueue(keys.BUILD_JOB, edit_id, job_id=job, depends_on=after, at_front=True, **self._limits)

    def remove_edit(self, edit_id: str) -> None:
        """Forget the edit's job and all that RQ keeps of earlier runs of it. Nothing happens where there is none."""
        for job in (edit_id, edit_id + BUILD_SUFFIX):
            self._forget(job)

    def _forget(self, job_id: str) -> None:
        """Forget a job but for the jobs that depend on it, which may then depend on one put in its place.

        RQ's own `Job.delete` fails for a job whose worker died: its run has expired before the list of its runs.
        """
        queue, connection = self._queue, self._queue.connection
        started = queue.started_job_registry
        leases = [
            lease
            for lease in cast(list[bytes], connection.zrange(started.key, 0, -1))
            if started.parse_job_id(lease.decode()) == job_id
        ]
        job = Job(job_id, connection=connection, serializer=JSONSerializer)
        with connection.pipeline() as pipeline:
            queue.remove(job_id, pipeline=pipeline)
            pipeline.lrem(queue.intermediate_queue_key, 0, job_id)
            for registry in (queue.failed_job_registry, queue.deferred_job_registry, queue.ready_job_registry):
                pipeline.zrem(registry.key, job_id)
            if leases:
                pipeline.zrem(started.key, *leases)
            pipeline.delete(job.key, job.dependencies_key, ExecutionRegistry(job_id, connection).key)
            pipeline.execute()

    # Looking

    def waiting(self) -> list[str]:
        """Jobs that wait, first come first."""
        return [_name(job_id) for job_id in self._queue.get_job_ids()]

    def num_edits_waiting(self) -> int:
        """How many edits wait to be begun."""
        return sum(job_id == edit_of(job_id) for job_id in self._queue.get_job_ids())

    def deferred(self) -> set[str]:
        """Jobs that wait for others to be done."""
        found = cast(list[bytes], self._queue.connection.zrange(self._queue.deferred_job_registry.key, 0, -1))
        return {_name(job_id.decode()) for job_id in found}

    def held(self) -> set[str]:
        """Jobs that a worker holds which sent its heartbeat in time."""
        return self._leased(time.time(), "+inf")

    def abandoned(self) -> set[str]:
        """Jobs that a worker held and fell silent. (RQ's own cleaning, which is not used, would drop them.)"""
        return self._leased("-inf", time.time()) - self.held()

    def _leased(self, ends_after: float | str, ends_before: float | str) -> set[str]:
        started = self._queue.started_job_registry
        leases = cast(list[bytes], self._queue.connection.zrangebyscore(started.key, ends_after, ends_before))
        return {_name(started.parse_job_id(lease.decode())) for lease in leases}

    def num_workers(self) -> int:
        """How many live workers have their model loaded and take jobs."""
        return len(SimpleWorker.all(queue=self._queue))


def _name(job_id: str) -> str:
    return job_id.removesuffix(BUILD_SUFFIX)
