"""The registry: a home folder and a Redis, and what there is in them.

The home folder holds what was accepted, what has ended, all versions and which of them served when. Redis holds what is
under way: the queue, live states, events. What Redis loses, the folder brings back (`jobs.recovery`).
"""

from contextlib import suppress
from typing import Any

from redis import Redis, RedisError
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from errata_registry import home, keys
from errata_registry.bucket.commits import commits_of
from errata_registry.home import BoundBase, MatrixShapes, MatrixValues
from errata_registry.jobs.edits import Edits
from errata_registry.jobs.kinds import EDIT, EVALUATION, KINDS, TRACE, Asked, JobKind, Shown, kind_of
from errata_registry.jobs.live import LiveJobs
from errata_registry.jobs.queue import TaskQueue
from errata_registry.jobs.store import JobStore
from errata_registry.occupancy import Occupied
from errata_registry.serving.activations import Activations
from errata_registry.serving.aliases import Aliases
from errata_registry.serving.probes import Probes
from errata_registry.serving.replicas import Replicas
from errata_registry.settings import Settings
from errata_registry.versions.contexts import ContextFiles
from errata_registry.versions.store import Artifacts
from errata_registry.versions.versions import Versions

# A connection may be dead without a word: what waits for an answer on it tries once more on a new one after this time.
SILENCE_S = 5.0


class Registry:
    """The parts of a home folder and of its Redis. Safe to use from several threads.

    Attributes:
        commits: how what counts gets into the home folder.
        edits, evaluations, traces: jobs; `store` gives those of any kind.
        live, queue: the live state of all jobs, and the tasks that wait or are held by a worker.
        artifacts: the folders of versions; `versions` shows them as they stand.
        activations: which version serves.
        aliases, probes: names of versions, and prompts that each new one must pass.
        replicas: the serving processes that live.
        contexts: context prefixes sampled from the base model.
    """

    def __init__(self, settings: Settings) -> None:
        """Make the home folder, and be at work there until `close`; nothing is asked of Redis yet.

        Raises:
            ValueError: no Redis is named, or a bucket that cannot be used.
            Conflict: the folder is on its way to a bucket.
            OSError: the bucket does not answer.
            NewerHome: the home folder was written by a newer program.
        """
        if settings.redis_url is None:
            raise ValueError("no Redis is named: set ERRATA_REDIS_URL, or use `errata up`, which starts its own")
        self._occupied = Occupied(settings.home)
        try:
            self.commits = commits = commits_of(settings)
            if home.is_bound(settings.home):
                BoundBase.of(settings.home)
        except BaseException:
            self._occupied.close()
            raise
        self.settings = settings
        self.redis = _connect(settings.redis_url, decode_responses=True)
        self._queue_redis = _connect(settings.redis_url)
        self.live = LiveJobs(self.redis)
        self.queue = TaskQueue(self._queue_redis, settings.job_timeout_s)
        self.artifacts = Artifacts(settings.home, commits)
        self.activations = Activations(settings.home, self.artifacts, self.redis, commits)
        self.aliases = Aliases(settings.home, commits)
        self.probes = Probes(settings.home, commits)
        self.replicas = Replicas(self.redis, settings.replica_ttl_s)
        self.contexts = ContextFiles(settings.home / "contexts", commits)
        self._stores: dict[str, JobStore[Any, Any]] = {
            kind.name: JobStore(kind, settings.home, self.live, self.queue, settings.max_queued_measurements, commits)
            for kind in KINDS
            if kind is not EDIT
        }
        self.evaluations = self.store(EVALUATION)
        self.traces = self.store(TRACE)
        self.versions = Versions(settings.home, self.artifacts, self.activations, self.aliases, self.evaluations.folder)
        self.edits = Edits(settings, self.live, self.queue, self.versions, commits)
        self._stores[EDIT.name] = self.edits

    @property
    def stores(self) -> tuple[JobStore[Any, Any], ...]:
        """The jobs of each kind, edits first."""
        return tuple(self._stores[kind.name] for kind in KINDS)

    def store(self, kind: JobKind[Asked, Shown]) -> JobStore[Asked, Shown]:
        """Return the jobs of a kind."""
        return self._stores[kind.name]

    def store_of(self, job_id: str) -> JobStore[Any, Any]:
        """Return the jobs of the kind that this id is of, edits for what is no id."""
        return self.store(kind_of(job_id) or EDIT)

    def ping(self) -> bool:
        """Return True if Redis answers. Never raises."""
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def close(self) -> None:
        for connection in (self.redis, self._queue_redis):
            connection.close()
        self._occupied.close()

    # The base model

    def bind_base(self, name: str, digest: str, matrices: MatrixShapes, values: MatrixValues) -> None:
        """Tie the home folder to its base model at the first start, and bring it to the present form.

        Raises `WrongBaseModel` where the folder belongs to a model with another digest.
        """
        bound = home.bind(self.settings.home, name, digest, matrices, values, self.commits)
        if bound.format < home.FORM:
            for store in self.stores:
                store.keys.remember_those_of_form_1()
            with suppress(RedisError):  # what form 1 kept there of each edit and version; the folder has all of it
                for kind in ("edit", "version", "evaluation", "trace", "measurement", "idempotency", "work", "active"):
                    for name in self.redis.scan_iter(f"errata:{kind}*", count=1000):
                        if name != keys.ACTIVATIONS:
                            self.redis.delete(name)
            home.note_form(self.settings.home, bound)


def _connect(url: str, **options: Any) -> Redis:
    retry = Retry(ConstantBackoff(0.1), retries=1)
    return Redis.from_url(url, socket_timeout=SILENCE_S, retry=retry, **options)
