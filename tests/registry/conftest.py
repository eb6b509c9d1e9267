"""A registry over a real Redis, versions made for it without a model, and machines that share a bucket alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from errata_client.records import VersionStatus
from errata_registry import keys
from errata_registry.bucket import patience
from errata_registry.jobs.kinds import kind_of
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.stored import now
from errata_registry.versions.facts import Origin, stored_fact
from errata_registry.versions.manifest import BaseModelName, Manifest
from redis import Redis
from rq import Queue

from benchmarks.faults.bucket import BucketServer, bucket_server
from errata.deltas import Delta
from errata.facts import Fact, FactSet
from tests.made_up_versions import make_up_version

BASE_DIGEST = "b" * 64
MATRICES = ((8, 16),) * 4
DATABASE = 15
PATIENCE_S = 1.0  # with a bucket that is away

Publish = Callable[..., Manifest]
Hold = Callable[..., None]
NewMachine = Callable[[], Registry]


@pytest.fixture
def settings(redis_server: str, tmp_path: Path) -> Settings:
    """A home folder and an empty database of the test's own."""
    return Settings(home=tmp_path / "home", redis_url=f"{redis_server}/{DATABASE}", max_queued_edits=3, max_attempts=2)


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    """An empty registry of a base model with `BASE_DIGEST`."""
    registry = Registry(settings)
    registry.redis.flushdb()
    registry.bind_base("base", BASE_DIGEST, MATRICES, ())
    recover(registry)
    yield registry
    registry.close()


@pytest.fixture
def publish(registry: Registry) -> Publish:
    """Makes a version: `publish(edit=..., status=...)`."""
    return partial(publish_version, registry)


@pytest.fixture
def hold(settings: Settings) -> Iterator[Hold]:
    """Lets a worker take a job: `hold(job)`; with `lease_s=-1` it then dies, with `lease_s=None` it drops the job, with
    `fails=True` the job raises something."""
    with Redis.from_url(str(settings.redis_url)) as connection:

        def hold(job: str, lease_s: float | None = 60, fails: bool = False) -> None:
            kind = kind_of(job)
            queue = Queue(keys.SHARD_QUEUE if kind is None else kind.queue, connection=connection)
            ids = [waiting for waiting in queue.get_job_ids() if waiting == job or waiting.startswith(f"{job}-go-on-")]
            for job_id in ids or [job]:
                queue.remove(job_id)
                if fails:
                    connection.zadd(queue.failed_job_registry.key, {job_id: time.time() + 60})
                elif lease_s is not None:
                    connection.zadd(queue.started_job_registry.key, {f"{job_id}:run": time.time() + lease_s})

        yield hold


def publish_version(
    registry: Registry,
    *facts: Fact,
    edit: str = "edit_1",
    status: VersionStatus = VersionStatus.READY,
    digest: str = BASE_DIGEST,
    parent: int | None = None,
) -> Manifest:
    """A version of the facts, or of one, made of the active version or of `parent`, with a small delta."""
    facts = facts or (Fact("Ada Lovelace", "was born in", "Paris", ("The birthplace of Ada Lovelace is",)),)
    made_up = make_up_version(
        registry.artifacts,
        BaseModelName(name="base", digest=digest, dtype="float32"),
        {2: Delta.of_factors(torch.ones(8, 1).double(), torch.ones(1, 16).double())},
        [stored_fact(fact, Origin(edit, None, now())) for fact in FactSet(facts)],
        parent=registry.activations.active() if parent is None else parent,
        edit=edit,
        status=status,
    )
    return made_up


@pytest.fixture
def request_body() -> EditRequest:
    """An edit of one fact."""
    return EditRequest(facts=(Fact(subject="Ada Lovelace", relation="was born in", object="Paris"),))


# Machines that share no file system but a bucket, which a real server keeps behind a network that can fail.


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with bucket_server(tmp_path_factory.mktemp("buckets") / "all") as server:
        yield server


@pytest.fixture
def new_machine(
    bucket: BucketServer, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NewMachine]:
    """Starts a process on a machine of its own, whose home folder is empty. All share a Redis and a bucket."""
    monkeypatch.setattr(patience, "PATIENCE_S", PATIENCE_S)
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    machines: list[Registry] = []

    def start() -> Registry:
        own = {"home": tmp_path / f"machine-{len(machines)}", "bucket": f"s3://errata/{tmp_path.name}"}
        machine = Registry(settings.model_copy(update=own))
        if not machines:
            machine.redis.flushdb()
        machines.append(machine)
        machine.bind_base("base", BASE_DIGEST, MATRICES, ())
        return machine

    yield start
    bucket.network.heal()
    for machine in machines:
        machine.close()


@contextmanager
def failing(bucket: BucketServer, **fault: Any) -> Iterator[None]:
    """Let the network fail in a way that `Proxy` knows."""
    for name, value in fault.items():
        setattr(bucket.network, name, value)
    yield
    bucket.network.heal()


def kept_by(bucket: BucketServer, machine: Registry) -> Path:
    """The folder in which the server keeps what the machines have put into the bucket."""
    return bucket.folder / machine.settings.home.parent.name


def log_of(bucket: BucketServer, machine: Registry) -> list[str]:
    return sorted(path.name for path in (kept_by(bucket, machine) / "log").iterdir())
