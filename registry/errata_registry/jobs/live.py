"""The live state of jobs in Redis: how those that have not ended stand, and the events of all.

All of it may be lost at any time; what was accepted lies in the home folder. Once a job has ended, its outcome there is
what is true, and nothing stays here but its events, for those who follow it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from errata_client.records import Job, JobStatus, Progress
from redis import Redis
from redis.client import Pipeline

from errata_registry import keys

LIVE_S = 7 * 24 * 3600
AFTER_END_S = 3600
ORDERING_S = 30
EVENTS_KEPT = 20_000
TELL_EVERY_MS = 200

J = TypeVar("J", bound=Job)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's event stream.

    `name` is `status` (data: the job's record), `progress` (a Progress) or `log` ({"level", "message"}).
    """

    id: str
    name: str
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        """Return True if the job has ended, and nothing follows."""
        return self.name == "status" and JobStatus(self.data["status"]).final


class LiveJobs:
    """The live state of all jobs. Any method may raise `redis.RedisError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def ids(self) -> list[str]:
        """Return the ids of the jobs that have a live state, oldest first."""
        return sorted(cast(set[str], self._redis.smembers(keys.JOBS)))

    def record(self, job_id: str, kind: type[J]) -> J | None:
        """Return how a job stands, None where nothing is known of it here."""
        found, told = cast(list[str | None], self._redis.mget(keys.job(job_id), keys.progress(job_id)))
        if found is None:
            return None
        record = kind.model_validate_json(found, extra="ignore")
        if told is not None and record.status is JobStatus.RUNNING:
            return record.model_copy(update={"progress": Progress.model_validate_json(told)})
        return record

    def put(self, record: Job) -> None:
        """Write how a job stands that has not ended, and tell those who follow it."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.set(keys.job(record.id), record.model_dump_json())
            pipeline.sadd(keys.JOBS, record.id)
            if record.status is JobStatus.QUEUED:  # what comes is another attempt
                pipeline.delete(keys.progress(record.id))
            _append_event(pipeline, record.id, "status", record.model_dump_json())
            pipeline.execute()

    def put_new(self, record: Job) -> bool:
        """Write how a job stands that is to be queued, unless it is known here already; return whether it was not."""
        if not self._redis.set(keys.job(record.id), record.model_dump_json(), nx=True):
            return False
        self.put(record)
        return True

    @contextmanager
    def ordering(self) -> Iterator[None]:
        """Be alone in changing the order of what waits."""
        with self._redis.lock(keys.ORDER_LOCK, timeout=ORDERING_S):
            yield

    def drop(self, ended: Job) -> None:
        """Forget the state of a job that has ended, and tell those who follow it."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(*keys.live_state(ended.id))
            pipeline.srem(keys.JOBS, ended.id)
            pipeline.expire(keys.cancel(ended.id), AFTER_END_S)  # a worker may have yet to see it
            _append_event(pipeline, ended.id, "status", ended.model_dump_json())
            pipeline.expire(keys.events(ended.id), AFTER_END_S)
            pipeline.execute()

    def forget(self, job_id: str) -> None:
        """Forget the state of a job of which nothing else is left."""
        self._redis.delete(*keys.live_state(job_id), keys.cancel(job_id), keys.events(job_id))
        self._redis.srem(keys.JOBS, job_id)

    # Progress and events

    def progress(self, job_id: str, progress: Progress) -> None:
        """Note how far a running job is and tell those who follow it.

        Nothing is noted where the job was seen to be as far already, or they were told just now. Several workers may
        say it, each what it knows.
        """
        name, told = keys.progress(job_id), keys.told(job_id)
        record = progress.model_dump_json()

        def write(pipeline: Pipeline) -> None:
            known = cast(str | None, pipeline.get(name))
            before = None if known is None else Progress.model_validate_json(known)
            just_told = bool(pipeline.exists(told))
            is_live = bool(pipeline.sismember(keys.JOBS, job_id))  # else it has ended by another hand
            pipeline.multi()
            if is_live and (before is None or _is_news(before, progress, just_told)):
                pipeline.set(name, record, ex=LIVE_S)
                pipeline.set(told, 1, px=TELL_EVERY_MS)
                _append_event(pipeline, job_id, "progress", record)

        self._redis.transaction(write, name)

    def progress_of(self, job_ids: Sequence[str]) -> list[Progress]:
        """Return how far those of the jobs are that have told of it."""
        names = [keys.progress(job_id) for job_id in job_ids]
        found = cast(list[str | None], self._redis.mget(names) if names else [])
        return [Progress.model_validate_json(record) for record in found if record]

    def log(self, job_id: str, level: str, message: str) -> None:
        """Tell those who follow a job something in words. `level` is `info`, `warning` or `error`."""
        with self._redis.pipeline(transaction=True) as pipeline:
            _append_event(pipeline, job_id, "log", json.dumps({"level": level, "message": message}))
            pipeline.execute()

    def has_events(self, job_id: str) -> bool:
        """Return True if there are events of a job; they expire."""
        return bool(self._redis.exists(keys.events(job_id)))

    def newest_event(self, job_id: str) -> str:
        """Return the id of the newest event of a job, `0` where there is none."""
        last = cast(list[tuple[str, Any]], self._redis.xrevrange(keys.events(job_id), count=1))
        return last[0][0] if last else "0"

    def events(self, job_id: str, after: str = "0") -> list[Event]:
        """Return what happened to a job after the event with id `after`, oldest first."""
        return self.news({job_id: after}).get(job_id, [])

    def news(self, after: Mapping[str, str], block_ms: int | None = None) -> dict[str, list[Event]]:
        """Return what happened to each of these jobs after the event with the given id, oldest first.

        Waits up to `block_ms` milliseconds for the first one. That must be less than the time limit of Redis' socket.
        """
        jobs = {keys.events(job_id): job_id for job_id in after}
        answer = cast(
            list[tuple[str, list[tuple[str, dict[str, str]]]]],
            self._redis.xread({stream: after[job_id] for stream, job_id in jobs.items()}, block=block_ms),
        )
        return {
            jobs[stream]: [Event(event_id, fields["name"], json.loads(fields["data"])) for event_id, fields in entries]
            for stream, entries in answer
        }

    # Cancelling

    def ask_to_stop(self, job_id: str) -> None:
        """Let a job stop at its next step."""
        self._redis.set(keys.cancel(job_id), 1, ex=LIVE_S)

    def is_to_stop(self, job_id: str) -> bool:
        """Return True if a job is to stop."""
        return bool(self._redis.exists(keys.cancel(job_id)))

    # Lost workers

    def missing_since(self, job_id: str) -> dict[str, float]:
        """Return since when each of a job's tasks has been missing, in seconds since the epoch."""
        found = cast(dict[str, str], self._redis.hgetall(keys.missing(job_id)))
        return {task: float(moment) for task, moment in found.items()}

    def note_missing(self, job_id: str, since: Mapping[str, float], keep_s: int) -> None:
        """Note which tasks are missing, and since when, in the place of what was noted before."""
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(keys.missing(job_id))
            if since:
                pipeline.hset(keys.missing(job_id), mapping={task: str(moment) for task, moment in since.items()})
                pipeline.expire(keys.missing(job_id), keep_s)
            pipeline.execute()

    def count_loss(self, job_id: str, task: str) -> int:
        """Note that a task has lost a worker; return how many it has lost by now."""
        lost = self._redis.hincrby(keys.losses(job_id), task, 1)
        self._redis.expire(keys.losses(job_id), LIVE_S)
        return lost

    # Target shards

    def note_search(self, job_id: str, shard: int, left: int) -> dict[str, str]:
        """Note how many facts of a shard have no target yet; return what was noted of all shards, by number."""
        name = keys.searching(job_id)
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(name, str(shard), str(left))
            pipeline.hgetall(name)
            pipeline.expire(name, LIVE_S)
            _, noted, _ = pipeline.execute()
        return cast(dict[str, str], noted)

    def forget_search(self, job_id: str) -> None:
        """Forget what was noted of an edit's shards."""
        self._redis.delete(keys.searching(job_id))


def _append_event(pipeline: Pipeline, job_id: str, name: str, data: str) -> None:
    stream = keys.events(job_id)
    pipeline.xadd(stream, {"name": name, "data": data}, maxlen=EVENTS_KEPT, approximate=True)
    pipeline.expire(stream, LIVE_S)


def _is_news(before: Progress, after: Progress, just_told: bool) -> bool:
    """Return True if progress is to be told: at most a thousand times a stage, so that the events of a job do not push
    one another out of its stream."""
    if after.stage is not before.stage or after.total != before.total:
        return True
    if after.done == after.total:
        return before.done < before.total
    return not just_told and after.done * 1000 // after.total > before.done * 1000 // before.total
