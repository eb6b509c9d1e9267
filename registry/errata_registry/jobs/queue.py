"""The queues of tasks, kept by RQ: one of edits, one of the target shards of edits that were cut, one of measurements.

Workers turn to the edits first: those that have begun, then the others in the order in which they came. Shards wait in
a queue of their own, first come first, so that a small edit need not wait for the many shards of a large one.
Evaluations and traces wait behind both, so that measuring holds an edit up for the job at hand at most.

A task (RQ calls it a job) is known by its name. The name of a job's own task is the job's id, and stands for several
tasks of RQ's: the one that begins the job, and those that go on with it. (A task cannot put itself into the queue
again: RQ forgets at a task's end whatever has its id.)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any, Literal, NamedTuple, cast

from errata_client.records import Worker, Workforce
from redis import Redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.executions import ExecutionRegistry
from rq.job import Dependency, Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker, SimpleWorker

from errata_registry import keys
from errata_registry.jobs.kinds import kind_of

NOTED_S = 30 * 24 * 3600
_GO_ON = "-go-on-"


def shard_task(edit_id: str, shard: int) -> str:
    """Return the name of the task that finds the targets of one shard."""
    return f"{edit_id}-shard-{shard}"


def shard_of(task: str) -> int:
    """Return the number of the shard that a task finds the targets of, from the task's name."""
    return int(task.rpartition("-")[2])


def job_of(task: str) -> str:
    """Return the id of the job that a task works for, from the task's name or RQ's id."""
    return task.partition("-")[0]


class Whereabouts(NamedTuple):
    """The places of tasks, by their names.

    One that is needed and neither waiting nor deferred nor held is missing; it has cost a worker where it is abandoned
    or failed.

    Attributes:
        deferred: wait for others to be done.
        held: in the hands of a worker that sent its heartbeat in time.
        abandoned: in the hands of a worker that fell silent. (RQ's own cleaning, which is not used, would drop them.)
        failed: could not even say how they ended; what a task raises counts here, not what ends its job.
    """

    waiting: set[str]
    deferred: set[str]
    held: set[str]
    abandoned: set[str]
    failed: set[str]


class TaskQueue:
    """Tasks that wait, and those that a live worker holds. RQ's connection must not decode responses."""

    def __init__(self, connection: Redis, job_timeout_s: int) -> None:
        self._connection = connection
        self._queues = {name: Queue(name, connection=connection, serializer=JSONSerializer) for name in keys.QUEUES}
        # What a task gives back lies in the home folder, so RQ keeps no result, and it is told of no retry: recovery
        # decides about lost tasks.
        self._limits = {"job_timeout": job_timeout_s, "result_ttl": 0, "failure_ttl": 3600}

    # Putting in and taking out

    def put(self, job_id: str) -> None:
        """Queue a job that is to be begun, behind those that wait, in place of any earlier task of its own."""
        self._put_own(job_id, job_id)

    def put_begun(self, job_id: str, shards: Sequence[int] = ()) -> None:
        """Queue a job that is to be gone on with once its `shards` are done, before those that wait.

        It takes the place of any earlier task of the job's own; but the one that a worker holds, which may be the
        caller's, stays.
        """
        before = [shard_task(job_id, shard) for shard in shards]
        after = Dependency(before, enqueue_at_front=True) if before else None
        self._put_own(job_id, _to_go_on(job_id), depends_on=after, at_front=True)

    def _put_own(self, job_id: str, task: str, **place: Any) -> None:
        held = self._forget({earlier for earlier in self._tasks_of(job_id) if _name(earlier) == job_id})
        if task in held:  # RQ forgets at its end whatever has its id
            task = _to_go_on(job_id)
        kind = kind_of(job_id)
        assert kind is not None, f"{job_id} is no job's id"
        self._note(job_id, task)
        self._queues[kind.queue].enqueue(keys.RUN, job_id, job_id=task, **place, **self._limits)

    def put_first(self, job_id: str) -> None:
        """Queue a job that is to be begun and waits nowhere, before all that wait."""
        self._put_own(job_id, job_id, at_front=True)

    def move_first(self, job_id: str) -> None:
        """Let a job that is to be begun wait before all others, unless a worker has taken it by now."""
        kind = kind_of(job_id)
        assert kind is not None, f"{job_id} is no job's id"
        queue = self._queues[kind.queue]
        if self._connection.lrem(queue.key, 1, job_id):
            queue.push_job_id(job_id, at_front=True)

    def put_shards(self, edit_id: str, shards: Iterable[int], at_front: bool = False) -> None:
        """Queue tasks for shards, in place of earlier ones, behind those that wait or before them."""
        in_order = sorted(shards, reverse=at_front)
        self._forget({shard_task(edit_id, shard) for shard in in_order})
        queue = self._queues[keys.SHARD_QUEUE]
        for shard in in_order:
            task = shard_task(edit_id, shard)
            self._note(edit_id, task)
            queue.enqueue(keys.RUN_SHARD, edit_id, shard, job_id=task, at_front=at_front, **self._limits)

    def forget(self, job_id: str) -> None:
        """Forget all tasks of a job that has ended, but for those that a worker holds: RQ forgets them at their end."""
        if tasks := self._tasks_of(job_id):
            self._forget(tasks)
            dependents = [self._job(task).dependents_key for task in tasks]
            self._connection.delete(keys.queued(job_id), *dependents)

    def _note(self, job_id: str, task: str) -> None:
        with self._connection.pipeline() as pipeline:
            pipeline.sadd(keys.queued(job_id), task)
            pipeline.expire(keys.queued(job_id), NOTED_S)  # whoever notes it may die, when the job has ended already
            pipeline.execute()

    def _tasks_of(self, job_id: str) -> set[str]:
        noted = {task.decode() for task in cast(set[bytes], self._connection.smembers(keys.queued(job_id)))}
        ended_badly = {lease.task for lease in self._leases()} | self._in_registries("failed")
        return noted | {task for task in ended_badly if job_of(task) == job_id}

    def _forget(self, tasks: set[str]) -> set[str]:
        """Forget tasks that no worker holds, but for the tasks that depend on them, which may then depend on those put
        in their place; return those that a worker holds.

        RQ's own `Job.delete` fails for a task whose worker died: its run has expired before the list of its runs.
        """
        leases = self._leases()
        held = tasks & {lease.task for lease in leases if lease.holds}
        gone = tasks - held
        if not gone:
            return held
        ended = [lease.name for lease in leases if lease.task in gone]
        with self._connection.pipeline() as pipeline:
            for queue in self._queues.values():
                for task in gone:
                    queue.remove(task, pipeline=pipeline)
                for registry in (queue.failed_job_registry, queue.deferred_job_registry, queue.ready_job_registry):
                    pipeline.zrem(registry.key, *gone)
                if ended:
                    pipeline.zrem(queue.started_job_registry.key, *ended)
            for task in gone:
                job = self._job(task)
                pipeline.delete(job.key, job.dependencies_key, ExecutionRegistry(task, self._connection).key)
                pipeline.srem(keys.queued(job_of(task)), task)
            pipeline.execute()
        return held

    def _job(self, task: str) -> Job:
        return Job(task, connection=self._connection, serializer=JSONSerializer)

    # Looking

    def waiting(self) -> list[str]:
        """Return the names of the tasks that wait, first come first, queue by queue."""
        return [_name(task) for queue in self._queues.values() for task in queue.get_job_ids()]

    def whereabouts(self) -> Whereabouts:
        """Look at all queues."""
        # In the order of a task's way: one that goes on meanwhile is seen in the next place.
        deferred = set(map(_name, self._in_registries("deferred")))
        waiting = set(self.waiting())
        leases = self._leases()
        held = {_name(lease.task) for lease in leases if lease.holds}
        abandoned = {_name(lease.task) for lease in leases} - held
        return Whereabouts(waiting, deferred, held, abandoned, set(map(_name, self._in_registries("failed"))))

    def num_waiting(self, queue: str) -> int:
        """Return how many jobs wait in a queue to be begun."""
        return sum(task == job_of(task) for task in self._queues[queue].get_job_ids())

    def waits_s(self) -> dict[str, float]:
        """Return for each queue how many seconds the task that is next has waited, 0 where none waits."""
        return {name: self._wait_s(queue) for name, queue in self._queues.items()}

    def _wait_s(self, queue: Queue) -> float:
        with suppress(NoSuchJobError):  # it was taken meanwhile
            for task in queue.get_job_ids(0, 1):
                if since := Job.fetch(task, self._connection, JSONSerializer).enqueued_at:
                    return max(0.0, time.time() - since.timestamp())
        return 0.0

    def ages_s(self) -> dict[str, float]:
        """Return for each queue how many seconds ago the oldest job was accepted of which a task waits, 0 where none
        does. It may be older than what is next: one that a worker lost waits before others, and began its wait anew."""
        return {name: self._age_s(queue) for name, queue in self._queues.items()}

    def _age_s(self, queue: Queue) -> float:
        jobs = {job_of(task) for task in queue.get_job_ids()}
        accepted = [kind.created_at(job_id).timestamp() for job_id in jobs if (kind := kind_of(job_id))]
        return max(0.0, time.time() - min(accepted)) if accepted else 0.0

    def num_workers(self) -> int:
        """Return how many live workers have their model loaded and take tasks."""
        return len(self._workers())

    def workforce(self) -> Workforce:
        """Return the live workers, with the job that each has in hand, and how many tasks wait."""
        waiting = {name: len(queue) for name, queue in self._queues.items()}
        return Workforce(
            data=tuple(_shown(worker) for worker in sorted(self._workers(), key=lambda worker: str(worker.name))),
            waiting_edits=waiting[keys.EDIT_QUEUE],
            waiting_shards=waiting[keys.SHARD_QUEUE],
            waiting_measurements=waiting[keys.MEASUREMENT_QUEUE],
        )

    def _workers(self) -> list[BaseWorker]:
        return list(SimpleWorker.all(queue=self._queues[keys.EDIT_QUEUE]))

    def _in_registries(self, kind: Literal["failed", "deferred"]) -> set[str]:
        found: list[bytes] = []
        for queue in self._queues.values():
            registry = queue.failed_job_registry if kind == "failed" else queue.deferred_job_registry
            found += cast(list[bytes], self._connection.zrange(registry.key, 0, -1))
        return {task.decode() for task in found}

    def _leases(self) -> list[_Lease]:
        leases = []
        for queue in self._queues.values():
            started = queue.started_job_registry
            found = cast(list[tuple[bytes, float]], self._connection.zrange(started.key, 0, -1, withscores=True))
            for name, ends in found:
                leases.append(_Lease(name.decode(), started.parse_job_id(name.decode()), ends >= time.time()))
        return leases


class _Lease(NamedTuple):
    """A worker's hold on a task. It `holds` while the worker sends its heartbeats."""

    name: str
    task: str
    holds: bool


def _shown(worker: BaseWorker) -> Worker:
    task, born = worker.get_current_job_id(), worker.birth_date
    since = None if born is None else born.replace(tzinfo=UTC)  # which it is in, without saying so
    return Worker(name=worker.name, since=since, job=job_of(task) if task else None)


def _to_go_on(job_id: str) -> str:
    return f"{job_id}{_GO_ON}{secrets.token_hex(4)}"


def _name(task: str) -> str:
    return task.partition(_GO_ON)[0]
