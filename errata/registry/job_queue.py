"""The queue of edit jobs. RQ keeps it; a job's id is its edit's, and its one argument too."""

from __future__ import annotations

import time
from typing import cast

from redis import Redis
from rq import Queue
from rq.executions import ExecutionRegistry
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

from errata.registry import keys


class JobQueue:
    """Edit jobs that wait, and those that a live worker holds. RQ's connection must not decode responses."""

    def __init__(self, connection: Redis, job_timeout_s: int) -> None:
        self._queue = Queue(keys.QUEUE, connection=connection, serializer=JSONSerializer)
        self._job_timeout_s = job_timeout_s

    def put(self, edit_id: str) -> None:
        """Queue the edit's job, in place of any earlier one. What a job gives back lies in the edit's record, so
        RQ keeps no result, and it is told of no retry: the registry decides about lost jobs."""
        self.remove(edit_id)
        self._queue.enqueue(
            keys.EDIT_JOB, edit_id, job_id=edit_id, job_timeout=self._job_timeout_s, result_ttl=0, failure_ttl=3600
        )

    def remove(self, edit_id: str) -> None:
        """Forget the edit's job and all that RQ keeps of earlier runs of it. Nothing happens where there is none.

        RQ's own `Job.delete` fails for a job whose worker died: its run has expired before the list of its runs.
        """
        queue, connection = self._queue, self._queue.connection
        started = queue.started_job_registry
        leases = [
            lease
            for lease in cast(list[bytes], connection.zrange(started.key, 0, -1))
            if started.parse_job_id(lease.decode()) == edit_id
        ]
        with connection.pipeline() as pipeline:
            queue.remove(edit_id, pipeline=pipeline)
            pipeline.lrem(queue.intermediate_queue_key, 0, edit_id)
            pipeline.zrem(queue.failed_job_registry.key, edit_id)
            if leases:
                pipeline.zrem(started.key, *leases)
            pipeline.delete(Job.key_for(edit_id), ExecutionRegistry(edit_id, connection).key)
            pipeline.execute()

    def waiting(self) -> list[str]:
        """Edits whose jobs wait, first come first."""
        return self._queue.get_job_ids()

    def __len__(self) -> int:
        """How many jobs wait."""
        return self._queue.count

    def held(self) -> set[str]:
        """Edits whose jobs a worker holds that sent its heartbeat in time."""
        return self._leased(time.time(), "+inf")

    def abandoned(self) -> set[str]:
        """Edits whose jobs a worker held and fell silent. (RQ's own cleaning, which is not used, would drop them.)"""
        return self._leased("-inf", time.time()) - self.held()

    def _leased(self, ends_after: float | str, ends_before: float | str) -> set[str]:
        started = self._queue.started_job_registry
        leases = cast(list[bytes], self._queue.connection.zrangebyscore(started.key, ends_after, ends_before))
        return {started.parse_job_id(lease.decode()) for lease in leases}

    def num_workers(self) -> int:
        """How many live workers have their model loaded and take jobs."""
        return len(SimpleWorker.all(queue=self._queue))
