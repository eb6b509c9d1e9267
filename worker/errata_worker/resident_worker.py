"""An RQ worker that keeps its model between jobs, and whose death is noticed within seconds."""

import logging
import math
import os
import secrets
import socket
import threading
import time
from types import FrameType
from typing import Any

from errata_registry import keys
from errata_registry.jobs.kinds import EDIT, kind_of
from errata_registry.settings import Settings
from redis import Redis, RedisError
from redis.backoff import ExponentialBackoff
from redis.client import Pipeline
from redis.retry import Retry
from rq import SimpleWorker
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.worker_registration import clean_worker_registry, register

from errata_worker.progress import WorkerStopping

logger = logging.getLogger(__name__)


class ResidentWorker(SimpleWorker):
    """Runs jobs one after another in its own process, since a model on a GPU does not survive a fork.

    Its heartbeats and the lease on its job come from a thread while a job runs, and hold for `settings.lease_s`
    seconds only. A worker that is told to stop lets its job go on for `settings.stop_grace_s` seconds, and puts
    it back into the queue if that is not enough; told a second time, at once.
    """

    def __init__(self, settings: Settings) -> None:
        """Connects to Redis. The name is new each time, so that a restarted worker is never taken for a double."""
        super().__init__(
            list(keys.QUEUES),
            name=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
            # It sits out a restart of Redis. It waits for jobs, so RQ sets the socket's timeout.
            connection=Redis.from_url(
                str(settings.redis_url),
                socket_timeout=None,
                retry=Retry(ExponentialBackoff(cap=2.0, base=0.1), retries=8),
            ),
            serializer=JSONSerializer,
            worker_ttl=settings.lease_s,
            maintenance_interval=settings.maintenance_s,  # type: ignore[arg-type]  # fractions work
        )
        self._settings = settings
        self._must_stop_at = math.inf
        self._maintained_at = -math.inf

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._must_stop_at < math.inf

    def must_stop(self) -> bool:
        """Whether the job at hand has had the time that a stopping worker grants it."""
        return time.monotonic() >= self._must_stop_at

    # What RQ calls

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run a job while a thread keeps its lease. Only our own jobs are done, whatever else is in the queue."""
        if not _is_ours(job):
            logger.error("job %s is none of ours; it is refused and forgotten", job.id)
            queue.connection.delete(job.key)
            return
        done = threading.Event()
        thread = threading.Thread(target=self._send_heartbeats, args=(job, done), name="heartbeats", daemon=True)
        thread.start()
        try:
            super().execute_job(job, queue)
        finally:
            done.set()
            thread.join()

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log what a job raised. One that was stopped is not done, so that none that depends on it is run, but it is
        not kept among those that failed: its worker put it back."""
        if exc_info[0] is WorkerStopping:
            self.disable_default_exception_handler = True  # for the rest of this job, which is the worker's last
        else:
            super().handle_exception(job, *exc_info)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """How long a job's lease holds; by default it would be as long as the job may take."""
        return self._settings.lease_s

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Hold for as long as the lease, whatever RQ would add."""
        super().heartbeat(self._settings.lease_s, pipeline=pipeline)

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Whether it is time again. RQ goes by the wall clock, and would wait for hours after it was set back."""
        return time.monotonic() - self._maintained_at > self._settings.maintenance_s

    def run_maintenance_tasks(self) -> None:
        """Be known to a Redis that lost its memory.

        RQ's own cleaning up after lost jobs is left out: the registry decides about them, and alone.
        """
        with self.connection.pipeline() as pipeline:
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.expire(self.key, self._settings.lease_s)
            register(self, pipeline)
            pipeline.execute()
        for queue in self.queues:
            clean_worker_registry(queue)
        self._maintained_at = time.monotonic()

    def subscribe(self) -> None:
        """No commands are taken over pub/sub: an edit is cancelled by a flag that it looks at itself."""

    def register_birth(self) -> None:
        """Become known as a worker. Only now, with the model loaded, is it counted as one."""
        super().register_birth()  # type: ignore[no-untyped-call]
        logger.info("worker %s is ready", self.name)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """First signal: take no more jobs."""
        logger.info("worker %s is told to stop", self.name)
        self._must_stop_at = time.monotonic() + self._settings.stop_grace_s
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """Second signal: put the job at hand back at its next step."""
        self._must_stop_at = time.monotonic()

    def _send_heartbeats(self, job: Job, done: threading.Event) -> None:
        while not done.wait(self._settings.heartbeat_s):
            for execution in list(self.executions.values()):
                try:
                    self.maintain_heartbeats(job, execution)
                except RedisError as error:
                    logger.warning("%s: a heartbeat was not sent: %s", job.id, error)


def _is_ours(job: Job) -> bool:
    """Return True if a task calls one of our functions with a job's id, and nothing else: RQ would call back any
    function that a task names."""
    callbacks = (job._success_callback_name, job._failure_callback_name, job._stopped_callback_name)
    try:
        if job.kwargs or any((*callbacks, job.webhooks)):
            return False
        match job.func_name, *job.args:
            case keys.RUN, str(job_id):
                return kind_of(job_id) is not None
            case keys.RUN_SHARD, str(edit_id), int(shard):
                return EDIT.is_id(edit_id) and shard >= 0
    except DeserializationError:
        pass
    return False
