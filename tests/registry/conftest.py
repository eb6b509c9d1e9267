"""A registry over a real Redis, and versions made for it without a model."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from errata_client.records import VersionStatus
from errata_registry import keys
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

from errata.deltas import Delta
from errata.facts import Fact, FactSet
from tests.made_up_versions import make_up_version

BASE_DIGEST = "b" * 64
MATRICES = ((8, 16),) * 4
DATABASE = 15

Publish = Callable[..., Manifest]
Hold = Callable[..., None]


@pytest.fixture
def settings(redis_server: str, tmp_path: Path) -> Settings:
    """A home folder and an empty database of the test's own."""
    return Settings(home=tmp_path / "home", redis_url=f"{redis_server}/{DATABASE}", max_queued_edits=3, max_attempts=2)


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    """An empty registry of a base model with `BASE_DIGEST`."""
    registry = Registry(settings)
    registry.redis.flushdb()
    registry.bind_base("base", BASE_DIGEST, MATRICES)
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
