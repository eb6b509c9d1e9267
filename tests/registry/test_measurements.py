"""Evaluations in a registry without a worker: what Redis loses comes back, and what workers lose is queued again."""

from __future__ import annotations

import shutil
import time

import pytest
from errata_registry import keys
from errata_registry.jobs import lost_jobs
from errata_registry.jobs.measurement_records import Evaluation, EvaluationRequest
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.reindex import reindex
from errata_registry.records import EditStatus, Estimate, EvaluationResult
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_worker.attempt import claim
from errata_worker.work import MeasurementWork
from redis import Redis
from rq import Queue

from errata.errors import Conflict, QueueFull, UnknownMeasurement
from tests.registry.conftest import Publish

REQUEST = EvaluationRequest(records=({"any": "record"},), seed=7, note="a note")
RESULT = EvaluationResult(
    estimates={"efficacy": Estimate(mean=1.0, low=0.5, high=1.0, count=1)}, drift=0.25, prose=None
)


def create(registry: Registry, version: int = 0, key: str | None = None) -> Evaluation:
    shown = {"version": version, "records": 1, "own_facts": False, "seed": 7, "note": "a note"}
    return registry.evaluations.create(REQUEST, shown, key, by="someone")


def lose(settings: Settings, evaluation: Evaluation) -> None:
    """Let a worker take the job, and die."""
    with Redis.from_url(str(settings.redis_url)) as connection:
        queue = Queue(keys.MEASUREMENT_QUEUE, connection=connection)
        queue.remove(evaluation.id)
        connection.zadd(queue.started_job_registry.key, {f"{evaluation.id}:run": time.time() - 1})


def test_a_wiped_redis_is_rebuilt(registry: Registry, settings: Settings, publish: Publish) -> None:
    number = publish().id
    done, waiting = create(registry, number, "key"), create(registry)
    registry.evaluations.update(done.id, status=EditStatus.SUCCEEDED, result=RESULT)
    before = registry.evaluations.page(), registry.version(number), registry.jobs.waiting()
    assert before[1].evaluation is not None and before[1].evaluation.id == done.id

    registry.redis.flushdb()
    assert str(reindex(settings)).splitlines()[1] == "2 evaluations and traces, 1 of them queued again"
    assert (registry.evaluations.page(), registry.version(number), registry.jobs.waiting()) == before
    assert registry.jobs.waiting() == [waiting.id]
    assert create(registry, number, "key").id == done.id


def test_a_lost_workers_evaluation_is_queued_again_until_that_was_too_often(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_jobs, "CLAIM_S", 0.0)
    evaluation = create(registry)
    for attempt in range(1, settings.max_attempts):
        assert claim(MeasurementWork(registry.evaluations, evaluation.id)).attempts == attempt
        lose(settings, evaluation)
        recover(registry)
        assert registry.jobs.waiting() == [evaluation.id]
        assert registry.evaluations.record(evaluation.id).status is EditStatus.QUEUED
    lose(settings, evaluation)
    recover(registry)
    ended = registry.evaluations.record(evaluation.id)
    assert ended.status is EditStatus.FAILED and ended.error is not None and "2 times" in ended.error.detail
    assert registry.evaluations.unfinished() == [] == registry.jobs.waiting()
    with pytest.raises(Conflict, match="has ended: failed"):
        registry.evaluations.request_cancel(evaluation.id)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_lost_one_that_cannot_be_read_ends_and_keeps_nothing_waiting(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch, publish: Publish, cancelled: bool
) -> None:
    monkeypatch.setattr(lost_jobs, "CLAIM_S", 0.0)
    gone, unreadable, well = (create(registry) for _ in range(3))
    for evaluation in (gone, unreadable, well):
        lose(settings, evaluation)
    shutil.rmtree(settings.home / "evaluations" / gone.id)
    (settings.home / "evaluations" / unreadable.id / "outcome.json").write_text("{")
    if cancelled:
        registry.redis.set(keys.measurement_cancel(gone.id), 1)
    registry.journal.append(publish().id, by="a process that died before it told Redis")
    recover(registry)

    assert registry.jobs.waiting() == [well.id] == registry.evaluations.unfinished()
    for evaluation, words in ((gone, "gone"), (unreadable, "outcome.json cannot be read")):
        ended = registry.evaluations.record(evaluation.id)
        assert ended.status is EditStatus.FAILED and ended.error is not None and words in ended.error.detail
    assert registry.redis.get(keys.ACTIVE) == "1"


def test_no_more_wait_than_may(registry: Registry, settings: Settings) -> None:
    registry.evaluations.settings = settings.model_copy(update={"max_queued_measurements": 1})
    create(registry)
    with pytest.raises(QueueFull, match="1 evaluations and traces"):
        create(registry)
    with pytest.raises(UnknownMeasurement):
        registry.traces.record("eval_" + "0" * 24)
