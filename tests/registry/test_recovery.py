from __future__ import annotations

import shutil
from typing import Any

import pytest
from errata_registry import keys
from errata_registry.jobs import lost_jobs
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.reindex import reindex
from errata_registry.records import EditRequest, EditStatus, VersionStatus, now
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_worker.attempt import claim
from errata_worker.work import EditWork

from errata.errors import Conflict, CorruptArtifact
from tests.registry.conftest import Hold, Publish


def everything(registry: Registry) -> tuple[object, ...]:
    """What a client can see of a registry."""
    return (
        registry.edits(100),
        registry.versions(100),
        registry.active(),
        registry.activations(),
        registry.jobs.waiting(),
    )


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is in neither place is taken for lost at the second look, however soon."""
    monkeypatch.setattr(lost_jobs, "CLAIM_S", 0.0)


@pytest.fixture
def busy_registry(registry: Registry, publish: Publish, request_body: EditRequest) -> Registry:
    """Three versions, one rejected, one deleted; one edit that has ended, one that waits."""
    ended, _ = registry.create_edit(request_body, "ended")
    publish(edit=ended.id)
    publish()
    publish(status=VersionStatus.REJECTED)
    registry.activate(2)
    registry.activate(1, by=ended.id)
    registry.delete_version(2)
    registry.jobs.forget_edit(ended.id)
    registry.update_edit(ended.id, status=EditStatus.SUCCEEDED, version=1)
    registry.create_edit(request_body, "waiting")
    return registry


def test_a_wiped_redis_is_rebuilt(busy_registry: Registry, settings: Settings) -> None:
    before = everything(busy_registry)
    busy_registry.redis.flushdb()

    rebuilt = reindex(settings)

    assert str(rebuilt) == "2 versions (1 is active), 2 edits, 1 of them queued again"
    assert everything(busy_registry) == before


def test_reindexing_again_changes_nothing(busy_registry: Registry, settings: Settings) -> None:
    busy_registry.redis.flushdb()
    reindex(settings)
    before = everything(busy_registry)
    events = [busy_registry.events(edit.id) for edit in busy_registry.edits().data]

    assert reindex(settings).queued_again == 0
    assert everything(busy_registry) == before
    assert [busy_registry.events(edit.id) for edit in busy_registry.edits().data] == events


def test_idempotency_keys_survive(busy_registry: Registry, request_body: EditRequest) -> None:
    ids = [edit.id for edit in busy_registry.edits().data]
    busy_registry.redis.flushdb()
    recover(busy_registry)

    assert [busy_registry.create_edit(request_body, key) for key in ("waiting", "ended")] == [
        (busy_registry.edit(edit_id), False) for edit_id in ids
    ]


def test_recovery_notices_the_wipe_itself(busy_registry: Registry) -> None:
    before = everything(busy_registry)
    busy_registry.redis.flushdb()
    assert busy_registry.active() == 1  # the journal knows, even before

    recover(busy_registry)

    assert everything(busy_registry) == before


def test_an_unreadable_version_does_not_stop_the_others(busy_registry: Registry, settings: Settings) -> None:
    (settings.home / "versions/000003/manifest.json").write_text("")
    busy_registry.redis.flushdb()

    rebuilt = reindex(settings)

    assert rebuilt.versions == 1
    assert "version 3: manifest.json cannot be read" in str(rebuilt)


@pytest.mark.parametrize("name", ["request.json", "outcome.json"])
def test_an_unreadable_edit_does_not_stop_the_others(busy_registry: Registry, settings: Settings, name: str) -> None:
    waiting, ended = (edit.id for edit in busy_registry.edits().data)
    (settings.home / "edits" / ended / name).write_bytes(b"\xff")
    busy_registry.redis.flushdb()

    rebuilt = reindex(settings)

    assert (rebuilt.versions, rebuilt.active, rebuilt.edits) == (2, 1, 1)
    assert f"left out: {ended}: {name} cannot be read" in str(rebuilt)
    assert busy_registry.jobs.waiting() == [waiting]


def test_an_unreadable_journal_is_the_last_thing_that_stops_a_rebuild(
    busy_registry: Registry, settings: Settings
) -> None:
    before = busy_registry.edits(100)
    (settings.home / "activations.jsonl").write_text("{\n")
    busy_registry.redis.flushdb()

    with pytest.raises(CorruptArtifact, match="journal"):
        recover(busy_registry)
    assert busy_registry.edits(100) == before
    assert busy_registry.queued() == 1


@pytest.mark.usefixtures("no_patience")
def test_what_a_redis_that_knows_the_home_has_forgotten_is_told_again_at_a_start(busy_registry: Registry) -> None:
    before = everything(busy_registry)
    waiting, ended = (edit.id for edit in busy_registry.edits().data)
    redis = busy_registry.redis
    busy_registry.jobs.forget_edit(waiting)
    redis.delete(keys.edit(waiting), keys.idempotency("edit", "waiting"), keys.version(3))
    redis.srem(keys.UNFINISHED, waiting)
    redis.zrem(keys.EDITS, waiting)
    redis.zrem(keys.VERSIONS, "3")
    redis.zadd(keys.VERSIONS, {"2": 2})  # it was deleted
    redis.set(
        keys.edit(ended), busy_registry.edit(ended).model_copy(update={"status": EditStatus.RUNNING}).model_dump_json()
    )

    recover(busy_registry, at_start=True)
    recover(busy_registry)

    assert everything(busy_registry) == before


@pytest.mark.usefixtures("no_patience")
def test_a_lost_edit_that_cannot_be_read_does_not_keep_others_waiting(
    registry: Registry, settings: Settings, request_body: EditRequest
) -> None:
    bad, good = (registry.create_edit(request_body)[0].id for _ in range(2))
    for edit_id in (bad, good):
        lose(registry, edit_id)
    (settings.home / "edits" / bad / "outcome.json").write_text("{")
    for _ in range(2):
        recover(registry)

    assert registry.jobs.waiting() == [good]
    ended = registry.edit(bad)
    assert ended.status is EditStatus.FAILED and ended.error is not None
    assert "outcome.json cannot be read" in ended.error.detail


@pytest.mark.usefixtures("no_patience")
def test_a_lost_edit_whose_folder_is_gone_ends_where_it_can_be_seen(
    registry: Registry, settings: Settings, request_body: EditRequest
) -> None:
    edit, _ = registry.create_edit(request_body)
    lose(registry, edit.id)
    shutil.rmtree(settings.home / "edits" / edit.id)
    for _ in range(2):
        recover(registry)

    ended = registry.edit(edit.id)
    assert ended.status is EditStatus.FAILED and ended.error is not None and "gone" in ended.error.detail
    assert registry.unfinished() == [] == registry.jobs.waiting()


def test_the_redis_of_another_home_is_refused(registry: Registry, settings: Settings) -> None:
    other = Registry(settings.model_copy(update={"home": settings.home.with_name("other")}))
    other.bind_base("base", "b" * 64)

    with pytest.raises(Conflict, match="belongs to another home folder"):
        recover(other)
    other.close()


def test_redis_follows_the_journal(registry: Registry, publish: Publish) -> None:
    publish()
    cursor = registry.activation_cursor()
    registry.journal.append(1, by="a process that died before it told Redis")

    recover(registry)

    assert registry.active() == 1
    assert registry.follow_activations(cursor, 1000) != cursor


# Edits whose worker is gone


def lose(registry: Registry, edit_id: str) -> None:
    """The edit's job leaves the queue, and its worker is never heard of again."""
    registry.jobs.forget_edit(edit_id)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("ending", [{"lease_s": -1}, {"fails": True}])
def test_an_edit_that_loses_workers_is_queued_again_and_ends_at_the_last(
    registry: Registry, request_body: EditRequest, hold: Hold, ending: dict[str, Any]
) -> None:
    edit, _ = registry.create_edit(request_body)
    other, _ = registry.create_edit(request_body)
    for attempt in range(1, registry.settings.max_attempts + 1):
        assert registry.jobs.waiting() == [edit.id, other.id]
        hold(edit.id, **ending)
        registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=attempt, started_at=now())
        for _ in range(2):
            recover(registry)
        assert registry.queued() == 1  # one that has begun goes first, and does not count

    ended = registry.edit(edit.id)
    assert (ended.status, ended.attempts) == (EditStatus.FAILED, 2)
    assert ended.error is not None
    assert "2 times with the edit in hand" in ended.error.detail
    assert registry.jobs.waiting() == [other.id]
    assert registry.jobs.abandoned() == registry.jobs.failed() == set()


@pytest.mark.usefixtures("no_patience")
def test_an_edit_that_left_no_trace_is_queued_again_and_has_lost_no_worker(
    registry: Registry, request_body: EditRequest, hold: Hold
) -> None:
    edit, _ = registry.create_edit(request_body)
    registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=1)
    for _ in range(registry.settings.max_attempts + 1):
        hold(edit.id, lease_s=None)
        recover(registry)
        assert registry.jobs.waiting() == []  # it may just be on its way to a worker
        recover(registry)
        assert registry.jobs.waiting() == [edit.id]

    running = registry.edit(edit.id)
    assert (running.status, running.attempts) == (EditStatus.RUNNING, 1)


@pytest.mark.usefixtures("no_patience")
def test_what_has_made_its_version_is_not_cancelled_any_more(
    registry: Registry, request_body: EditRequest, hold: Hold, publish: Publish
) -> None:
    edit, _ = registry.create_edit(request_body)
    registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=1)
    publish(edit=edit.id)
    hold(edit.id, lease_s=-1)

    assert registry.request_cancel(edit.id).status is EditStatus.RUNNING
    recover(registry)
    assert registry.edit(edit.id).status is EditStatus.QUEUED
    assert registry.jobs.waiting() == [edit.id]
    assert claim(EditWork(registry, edit.id)).status is EditStatus.RUNNING


@pytest.mark.usefixtures("no_patience")
def test_a_waiting_edit_is_left_alone(registry: Registry, request_body: EditRequest) -> None:
    edit, _ = registry.create_edit(request_body)
    for _ in range(3):
        recover(registry)

    assert registry.jobs.waiting() == [edit.id]
    assert len(registry.events(edit.id)) == 1


@pytest.mark.usefixtures("no_patience")
def test_a_lost_edit_that_was_cancelled_has_ended(registry: Registry, request_body: EditRequest) -> None:
    edit, _ = registry.create_edit(request_body)
    lose(registry, edit.id)
    registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=1)
    registry.request_cancel(edit.id)
    for _ in range(2):
        recover(registry)

    assert registry.edit(edit.id).status is EditStatus.CANCELLED


@pytest.mark.usefixtures("no_patience")
def test_an_outcome_that_redis_was_not_told_of_counts(registry: Registry, request_body: EditRequest) -> None:
    edit, _ = registry.create_edit(request_body)
    lose(registry, edit.id)
    running = registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=1)
    registry.edit_files.finish(running.model_copy(update={"status": EditStatus.SUCCEEDED, "version": 1}))
    for _ in range(2):
        recover(registry)

    assert registry.edit(edit.id).status is EditStatus.SUCCEEDED
    assert registry.queued() == 0
