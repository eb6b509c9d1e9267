import shutil
import threading
from contextlib import closing
from typing import Any

import pytest
from errata_client.records import JobStatus, VersionStatus
from errata_registry import keys
from errata_registry.jobs import recovery
from errata_registry.jobs.recovery import recover, reindex
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.stored import now
from errata_worker.running import claim
from redis import Redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from errata.errors import Conflict, CorruptArtifact
from tests.registry.conftest import BASE_DIGEST, MATRICES, Hold, Publish


def everything(registry: Registry) -> tuple[object, ...]:
    """What a client can see of a registry."""
    return (
        registry.edits.page(100),
        registry.versions.page(100),
        registry.activations.active(),
        registry.activations.journal.entries(),
        registry.queue.waiting(),
    )


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is in neither place is taken for lost at the second look, however soon."""
    monkeypatch.setattr(recovery, "CLAIM_S", 0.0)


@pytest.fixture
def busy_registry(registry: Registry, publish: Publish, request_body: EditRequest) -> Registry:
    """Three versions, one rejected, one deleted; one edit that has ended, one that waits."""
    ended = registry.edits.create_edit(request_body, "ended")
    publish(edit=ended.id)
    publish()
    publish(status=VersionStatus.REJECTED)
    registry.activations.activate(2)
    registry.activations.activate(1, by=ended.id)
    registry.versions.delete(2)
    registry.queue.forget(ended.id)
    registry.edits.update(ended.id, status=JobStatus.SUCCEEDED, version=1)
    registry.edits.create_edit(request_body, "waiting")
    return registry


def test_a_wiped_redis_is_rebuilt(busy_registry: Registry, settings: Settings) -> None:
    before = everything(busy_registry)
    busy_registry.redis.flushdb()

    rebuilt = reindex(busy_registry)

    assert rebuilt == "2 versions (1 is active), 2 edits, 1 of them queued again"
    assert everything(busy_registry) == before


def test_reindexing_again_changes_nothing(busy_registry: Registry, settings: Settings) -> None:
    busy_registry.redis.flushdb()
    reindex(busy_registry)
    before = everything(busy_registry)
    events = [busy_registry.edits.events(edit.id) for edit in busy_registry.edits.page().data]

    assert reindex(busy_registry) == "2 versions (1 is active), 2 edits, 0 of them queued again"
    assert everything(busy_registry) == before
    assert [busy_registry.edits.events(edit.id) for edit in busy_registry.edits.page().data] == events


def test_idempotency_keys_survive(busy_registry: Registry, request_body: EditRequest) -> None:
    ids = [edit.id for edit in busy_registry.edits.page().data]
    busy_registry.redis.flushdb()
    recover(busy_registry)

    assert [busy_registry.edits.create_edit(request_body, key) for key in ("waiting", "ended")] == [
        busy_registry.edits.record(edit_id) for edit_id in ids
    ]


def test_recovery_notices_the_wipe_itself(busy_registry: Registry) -> None:
    before = everything(busy_registry)
    busy_registry.redis.flushdb()
    assert busy_registry.activations.active() == 1  # the journal knows, even before

    recover(busy_registry)

    assert everything(busy_registry) == before


def test_an_unreadable_version_does_not_stop_the_others(busy_registry: Registry, settings: Settings) -> None:
    (settings.home / "versions/000003/manifest.json").write_text("")
    busy_registry.redis.flushdb()

    rebuilt = reindex(busy_registry)

    assert rebuilt.startswith("1 versions (")
    assert "version 3: manifest.json cannot be read" in rebuilt


@pytest.mark.parametrize("name", ["request.json", "outcome.json"])
def test_an_unreadable_edit_does_not_stop_the_others(busy_registry: Registry, settings: Settings, name: str) -> None:
    waiting, ended = (edit.id for edit in busy_registry.edits.page().data)
    (settings.home / "edits" / ended / name).write_bytes(b"\xff")
    busy_registry.redis.flushdb()

    rebuilt = reindex(busy_registry)

    assert rebuilt.startswith("2 versions (1 is active), 1 edits, ")
    assert f"left out: {ended}: {name} cannot be read" in rebuilt
    assert busy_registry.queue.waiting() == [waiting]


def test_an_unreadable_journal_stops_no_recovery(busy_registry: Registry, settings: Settings) -> None:
    before = busy_registry.edits.page(100)
    (settings.home / "activations.jsonl").write_text("{\n")
    busy_registry.redis.flushdb()

    recover(busy_registry)
    with pytest.raises(CorruptArtifact, match="journal"):
        busy_registry.activations.active()
    assert busy_registry.edits.page(100) == before
    assert busy_registry.queue.num_waiting(keys.EDIT_QUEUE) == 1


@pytest.mark.usefixtures("no_patience")
def test_what_a_redis_that_knows_the_home_has_forgotten_is_told_again_at_a_start(busy_registry: Registry) -> None:
    before = everything(busy_registry)
    waiting, ended = (edit.id for edit in busy_registry.edits.page().data)
    redis = busy_registry.redis
    busy_registry.queue.forget(waiting)
    redis.delete(*keys.live_state(waiting))
    redis.srem(keys.JOBS, waiting)
    redis.sadd(keys.JOBS, ended)
    redis.set(
        keys.job(ended),
        busy_registry.edits.record(ended).model_copy(update={"status": JobStatus.RUNNING}).model_dump_json(),
    )

    recover(busy_registry)
    recover(busy_registry)

    assert everything(busy_registry) == before


@pytest.mark.usefixtures("no_patience")
def test_a_lost_edit_that_cannot_be_read_does_not_keep_others_waiting(
    registry: Registry, settings: Settings, request_body: EditRequest
) -> None:
    bad, good = (registry.edits.create_edit(request_body).id for _ in range(2))
    for edit_id in (bad, good):
        lose(registry, edit_id)
    (settings.home / "edits" / bad / "outcome.json").write_text("{")
    for _ in range(2):
        recover(registry)

    assert registry.queue.waiting() == [good]
    ended = registry.edits.record(bad)
    assert ended.status is JobStatus.FAILED and ended.error is not None
    assert "outcome.json cannot be read" in ended.error.detail


@pytest.mark.usefixtures("no_patience")
def test_a_lost_edit_whose_folder_is_gone_ends_where_it_can_be_seen(
    registry: Registry, settings: Settings, request_body: EditRequest
) -> None:
    edit = registry.edits.create_edit(request_body)
    lose(registry, edit.id)
    shutil.rmtree(settings.home / "edits" / edit.id)
    for _ in range(2):
        recover(registry)

    ended = registry.edits.record(edit.id)
    assert ended.status is JobStatus.FAILED and ended.error is not None and "gone" in ended.error.detail
    assert registry.edits.folder.unfinished() == [] == registry.queue.waiting()


def test_the_redis_of_another_home_is_refused(registry: Registry, settings: Settings) -> None:
    other = Registry(settings.model_copy(update={"home": settings.home.with_name("other")}))
    other.bind_base("base", BASE_DIGEST, MATRICES, ())

    with pytest.raises(Conflict, match="belongs to another home folder"):
        recover(other)
    other.close()


def test_the_journal_alone_decides_what_serves(registry: Registry, publish: Publish) -> None:
    publish()
    cursor = registry.activations.cursor()
    registry.activations.journal.append(1, by="a process that died before it woke the replicas")

    assert registry.activations.active() == 1  # which they look at by themselves every now and then
    assert registry.activations.follow(cursor, 1) == cursor


@pytest.mark.usefixtures("no_patience")
def test_what_is_accepted_while_recovery_looks_is_left_alone(settings: Settings, request_body: EditRequest) -> None:
    with closing(Registry(settings.model_copy(update={"max_queued_edits": 1000}))) as registry:
        registry.redis.flushdb()
        registry.bind_base("base", BASE_DIGEST, MATRICES, ())
        over = threading.Event()

        def look_all_the_time() -> None:
            while not over.is_set():
                recover(registry)

        looking = threading.Thread(target=look_all_the_time)
        looking.start()
        ids = [registry.edits.create_edit(request_body).id for _ in range(100)]
        over.set()
        looking.join()
        assert {registry.edits.record(edit_id).status for edit_id in ids} == {JobStatus.QUEUED}


def test_a_disk_that_cannot_be_read_for_a_moment_ends_nothing(
    registry: Registry, settings: Settings, request_body: EditRequest
) -> None:
    edit = registry.edits.create_edit(request_body)
    outcome = settings.home / "edits" / edit.id / "outcome.json"
    outcome.mkdir()  # to read a folder is an OSError
    recover(registry)
    outcome.rmdir()
    recover(registry)
    assert registry.edits.record(edit.id).status is JobStatus.QUEUED
    assert registry.edits.folder.unfinished() == [edit.id] == registry.queue.waiting()


def test_an_edit_of_which_nothing_can_be_read_ends_where_it_can_be_seen(
    registry: Registry, settings: Settings, request_body: EditRequest
) -> None:
    edit = registry.edits.create_edit(request_body)
    (settings.home / "edits" / edit.id / "request.json").write_text("{")
    registry.redis.flushdb()
    recover(registry)
    ended = registry.edits.record(edit.id)
    assert ended.status is JobStatus.FAILED and ended.error is not None
    assert "request.json cannot be read" in ended.error.detail
    assert ended.created_at.replace(microsecond=0) == edit.created_at.replace(microsecond=0)
    assert registry.edits.count()[JobStatus.FAILED] == 1


# Edits whose worker is gone


def lose(registry: Registry, edit_id: str) -> None:
    """The edit's job leaves the queue, and its worker is never heard of again."""
    registry.queue.forget(edit_id)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("ending", [{"lease_s": -1}, {"fails": True}])
def test_an_edit_that_loses_workers_is_queued_again_and_ends_at_the_last(
    registry: Registry, request_body: EditRequest, hold: Hold, ending: dict[str, Any]
) -> None:
    edit = registry.edits.create_edit(request_body)
    other = registry.edits.create_edit(request_body)
    for attempt in range(1, registry.settings.max_attempts + 1):
        assert registry.queue.waiting() == [edit.id, other.id]
        hold(edit.id, **ending)
        registry.edits.update(edit.id, status=JobStatus.RUNNING, attempts=attempt, started_at=now())
        for _ in range(2):
            recover(registry)
        assert registry.queue.num_waiting(keys.EDIT_QUEUE) == 1  # one that has begun goes first, and does not count

    ended = registry.edits.record(edit.id)
    assert (ended.status, ended.attempts) == (JobStatus.FAILED, 2)
    assert ended.error is not None
    assert "2 times with the edit in hand" in ended.error.detail
    assert registry.queue.waiting() == [other.id]
    assert registry.queue.whereabouts().abandoned == registry.queue.whereabouts().failed == set()


@pytest.mark.usefixtures("no_patience")
def test_an_edit_that_left_no_trace_is_queued_again_and_has_lost_no_worker(
    registry: Registry, request_body: EditRequest, hold: Hold
) -> None:
    edit = registry.edits.create_edit(request_body)
    registry.edits.update(edit.id, status=JobStatus.RUNNING, attempts=1)
    for _ in range(registry.settings.max_attempts + 1):
        hold(edit.id, lease_s=None)
        recover(registry)
        assert registry.queue.waiting() == []  # it may just be on its way to a worker
        recover(registry)
        assert registry.queue.waiting() == [edit.id]

    running = registry.edits.record(edit.id)
    assert (running.status, running.attempts) == (JobStatus.RUNNING, 1)


def test_what_is_queued_while_a_worker_still_holds_it_outlasts_what_rq_forgets_at_the_holds_end(
    registry: Registry, settings: Settings, request_body: EditRequest, hold: Hold
) -> None:
    edit = registry.edits.create_edit(request_body)
    hold(edit.id)
    registry.queue.put(edit.id)
    with Redis.from_url(str(settings.redis_url)) as connection:
        Job.fetch(edit.id, connection, serializer=JSONSerializer).delete(remove_from_queue=False)
        (waiting,) = Queue(keys.EDIT_QUEUE, connection=connection, serializer=JSONSerializer).jobs
    assert waiting.args == [edit.id]


@pytest.mark.usefixtures("no_patience")
def test_what_has_made_its_version_is_not_cancelled_any_more(
    registry: Registry, request_body: EditRequest, hold: Hold, publish: Publish
) -> None:
    edit = registry.edits.create_edit(request_body)
    registry.edits.update(edit.id, status=JobStatus.RUNNING, attempts=1)
    publish(edit=edit.id)
    hold(edit.id, lease_s=-1)

    assert registry.edits.cancel(edit.id).status is JobStatus.RUNNING
    recover(registry)
    assert registry.edits.record(edit.id).status is JobStatus.QUEUED
    assert registry.queue.waiting() == [edit.id]
    assert claim(registry.edits, edit.id).status is JobStatus.RUNNING


@pytest.mark.usefixtures("no_patience")
def test_a_waiting_edit_is_left_alone(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)
    for _ in range(3):
        recover(registry)

    assert registry.queue.waiting() == [edit.id]
    assert len(registry.edits.events(edit.id)) == 1


@pytest.mark.usefixtures("no_patience")
def test_a_lost_edit_that_was_cancelled_has_ended(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)
    lose(registry, edit.id)
    registry.edits.update(edit.id, status=JobStatus.RUNNING, attempts=1)
    registry.edits.cancel(edit.id)
    for _ in range(2):
        recover(registry)

    assert registry.edits.record(edit.id).status is JobStatus.CANCELLED


@pytest.mark.usefixtures("no_patience")
def test_an_outcome_that_redis_was_not_told_of_counts(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)
    lose(registry, edit.id)
    running = registry.edits.update(edit.id, status=JobStatus.RUNNING, attempts=1)
    registry.edits.folder.finish(running.model_copy(update={"status": JobStatus.SUCCEEDED, "version": 1}))
    for _ in range(2):
        recover(registry)

    assert registry.edits.record(edit.id).status is JobStatus.SUCCEEDED
    assert registry.queue.num_waiting(keys.EDIT_QUEUE) == 0
