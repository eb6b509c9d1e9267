"""Evaluations in a registry without a worker: what Redis loses comes back, and what workers lose is queued again."""

import shutil
import time
from contextlib import closing

import pytest
from errata_client.records import Estimate, Evaluation, EvaluationResult, JobStatus
from errata_registry import keys
from errata_registry.jobs import recovery
from errata_registry.jobs.recovery import recover, reindex
from errata_registry.jobs.requests import EvaluationRequest
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_worker.running import claim

from errata.errors import Conflict, QueueFull, UnknownMeasurement
from tests.registry.conftest import Hold, Publish

REQUEST = EvaluationRequest(records=({"any": "record"},), seed=7, note="a note")
RESULT = EvaluationResult(
    estimates={"efficacy": Estimate(mean=1.0, low=0.5, high=1.0, count=1)}, drift=0.25, prose=None
)


def create(registry: Registry, version: int = 0, key: str | None = None) -> Evaluation:
    shown = {"version": version, "records": 1, "own_facts": False, "seed": 7, "note": "a note"}
    return registry.evaluations.create(REQUEST, shown, key, by="someone")


def test_a_wiped_redis_is_rebuilt(registry: Registry, settings: Settings, publish: Publish) -> None:
    number = publish().id
    done, waiting = create(registry, number, "key"), create(registry)
    registry.evaluations.update(done.id, status=JobStatus.SUCCEEDED, result=RESULT)
    before = registry.evaluations.page(), registry.versions.get(number), registry.queue.waiting()
    assert before[1].evaluation is not None and before[1].evaluation.id == done.id

    registry.redis.flushdb()
    assert reindex(registry).splitlines()[1] == "2 evaluations and traces, 1 of them queued again"
    assert (registry.evaluations.page(), registry.versions.get(number), registry.queue.waiting()) == before
    assert registry.queue.waiting() == [waiting.id]
    assert create(registry, number, "key").id == done.id


def test_a_lost_workers_evaluation_is_queued_again_until_that_was_too_often(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch, hold: Hold
) -> None:
    monkeypatch.setattr(recovery, "CLAIM_S", 0.0)
    evaluation = create(registry)
    for attempt in range(1, settings.max_attempts):
        assert claim(registry.evaluations, evaluation.id).attempts == attempt
        hold(evaluation.id, lease_s=-1)
        recover(registry)
        assert registry.queue.waiting() == [evaluation.id]
        assert registry.evaluations.record(evaluation.id).status is JobStatus.QUEUED
    hold(evaluation.id, lease_s=-1)
    recover(registry)
    ended = registry.evaluations.record(evaluation.id)
    assert ended.status is JobStatus.FAILED and ended.error is not None and "2 times" in ended.error.detail
    assert registry.evaluations.folder.unfinished() == [] == registry.queue.waiting()
    with pytest.raises(Conflict, match="has ended: failed"):
        registry.evaluations.cancel(evaluation.id)


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_lost_one_that_cannot_be_read_ends_and_keeps_nothing_waiting(
    registry: Registry,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    publish: Publish,
    hold: Hold,
    cancelled: bool,
) -> None:
    monkeypatch.setattr(recovery, "CLAIM_S", 0.0)
    gone, unreadable, well = (create(registry) for _ in range(3))
    for evaluation in (gone, unreadable, well):
        hold(evaluation.id, lease_s=-1)
    shutil.rmtree(settings.home / "evaluations" / gone.id)
    (settings.home / "evaluations" / unreadable.id / "outcome.json").write_text("{")
    if cancelled:
        registry.redis.set(keys.cancel(gone.id), 1)
    registry.activations.journal.append(publish().id, by="a process that died before it told Redis")
    for _ in range(2):
        recover(registry)

    assert registry.queue.waiting() == [well.id] == registry.evaluations.folder.unfinished()
    for evaluation, words in ((gone, "gone"), (unreadable, "outcome.json cannot be read")):
        ended = registry.evaluations.record(evaluation.id)
        assert ended.status is JobStatus.FAILED and ended.error is not None and words in ended.error.detail
    assert registry.activations.active() == 1


def test_what_ended_ones_took_and_how_long_others_wait_is_told(registry: Registry) -> None:
    assert registry.queue.ages_s() == dict.fromkeys(keys.QUEUES, 0)
    done, waiting = create(registry), create(registry)
    registry.queue.put_begun(waiting.id)  # it waits anew from now on, and was accepted before
    began = claim(registry.evaluations, done.id).started_at
    ended = registry.evaluations.update(done.id, status=JobStatus.FAILED).finished_at
    assert began is not None and ended is not None
    registry.evaluations.count()
    assert registry.evaluations.folder.taken() == {JobStatus.FAILED: (1, (ended - began).total_seconds())}
    accepted = registry.evaluations.kind.created_at(waiting.id).timestamp()
    assert 0 < registry.queue.ages_s()[keys.MEASUREMENT_QUEUE] <= time.time() - accepted
    registry.evaluations.cancel(waiting.id)
    assert registry.queue.ages_s()[keys.MEASUREMENT_QUEUE] == 0


def test_no_more_wait_than_may(registry: Registry, settings: Settings) -> None:
    with closing(Registry(settings.model_copy(update={"max_queued_measurements": 1}))) as strict:
        create(strict)
        with pytest.raises(QueueFull, match="1 evaluations and traces"):
            create(strict)
    with pytest.raises(UnknownMeasurement):
        registry.traces.record("eval_" + "0" * 24)
