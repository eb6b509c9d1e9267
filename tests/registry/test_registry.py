import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from errata_client.records import Gate, JobStatus, Metrics, Progress, Replica, Stage, VersionStatus
from errata_registry import keys
from errata_registry.jobs.recovery import CLAIM_S, recover
from errata_registry.jobs.requests import EditRequest
from errata_registry.registry import Registry
from errata_registry.settings import Settings

from errata.errors import (
    Conflict,
    CorruptArtifact,
    IdempotencyMismatch,
    QueueFull,
    UnknownEdit,
    UnknownVersion,
    WrongBaseModel,
)
from tests.registry.conftest import BASE_DIGEST, MATRICES, Hold, Publish

BY_DEFAULT = Gate(min_said=1, min_kept=1, min_efficacy=0.9, max_drift=0.6)
Later = Callable[[float, Callable[[], object]], None]


@pytest.fixture
def later(registry: Registry) -> Iterator[Later]:
    """Does something after some seconds, and is through with it before the registry closes."""
    timers: list[threading.Timer] = []

    def start(seconds: float, action: Callable[[], object]) -> None:
        timers.append(threading.Timer(seconds, action))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


# Edits


def test_an_accepted_edit_is_on_disk_and_queued(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)

    assert edit.status is JobStatus.QUEUED
    assert registry.edits.record(edit.id) == edit
    accepted = registry.edits.folder.accepted(edit.id).request
    assert accepted == request_body.model_copy(update={"gate": BY_DEFAULT})
    assert edit.gate == BY_DEFAULT
    assert registry.queue.waiting() == [edit.id]


def test_the_same_key_and_body_give_the_same_edit(registry: Registry, request_body: EditRequest) -> None:
    first = registry.edits.create_edit(request_body, "a key")
    second = registry.edits.create_edit(request_body, "a key")
    third = registry.edits.create_edit(request_body, "another key")

    assert second == first
    assert third.id != first.id
    assert registry.queue.num_waiting(keys.EDIT_QUEUE) == 2


def test_the_same_key_at_the_same_time_gives_one_edit(registry: Registry, request_body: EditRequest) -> None:
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(registry.edits.create_edit(request_body, "a key").id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 8
    assert len(set(ids)) == 1
    assert registry.edits.folder.ids() == registry.queue.waiting() == [ids[0]]


def test_a_known_key_of_an_edit_that_redis_lost_has_it_queued(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body, "a key")
    registry.queue.forget(edit.id)
    registry.redis.delete(*keys.live_state(edit.id), keys.JOBS)

    assert registry.edits.create_edit(request_body, "a key") == edit
    recover(registry)
    time.sleep(CLAIM_S)
    recover(registry)
    assert registry.queue.waiting() == [edit.id]


def test_the_same_key_with_another_body_is_refused(registry: Registry, request_body: EditRequest) -> None:
    registry.edits.create_edit(request_body, "a key")

    with pytest.raises(IdempotencyMismatch):
        registry.edits.create_edit(request_body.model_copy(update={"note": "another"}), "a key")


def test_a_key_counts_for_its_route_and_one_of_before_there_were_routes_for_all(
    registry: Registry, request_body: EditRequest
) -> None:
    without_route = registry.edits.create_edit(request_body, "a key")
    assert registry.edits.create_edit(request_body, "a key", route="/edits") == without_route

    there, elsewhere = (registry.edits.create_edit(request_body, "its key", route=route) for route in ("/a", "/b"))
    assert there.id != elsewhere.id
    assert registry.edits.create_edit(request_body, "its key", route="/a") == there


def test_a_key_that_has_had_its_day_is_a_new_one_once(registry: Registry, request_body: EditRequest) -> None:
    first = registry.edits.create_edit(request_body, "a key")
    (key_file,) = (registry.settings.home / "idempotency").iterdir()
    os.utime(key_file, (0, 0))
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(registry.edits.create_edit(request_body, "a key").id))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8 and len(set(ids)) == 1 and ids[0] != first.id


def test_a_full_queue_takes_no_more(registry: Registry, request_body: EditRequest) -> None:
    for _ in range(registry.settings.max_queued_edits):
        registry.edits.create_edit(request_body)

    with pytest.raises(QueueFull):
        registry.edits.create_edit(request_body)
    assert len(registry.edits.folder.ids()) == registry.settings.max_queued_edits


def test_an_unknown_base_is_refused(registry: Registry, request_body: EditRequest) -> None:
    with pytest.raises(UnknownVersion):
        registry.edits.create_edit(request_body.model_copy(update={"base": 5}))


@pytest.mark.parametrize("edit_id", ["edit_no", "../edits", "", ".", "x" * 300, "a\0b"])
def test_an_unknown_edit_is_named(registry: Registry, edit_id: str) -> None:
    with pytest.raises(UnknownEdit):
        registry.edits.record(edit_id)


def test_edits_are_listed_newest_first_in_pages(registry: Registry, request_body: EditRequest) -> None:
    ids = [registry.edits.create_edit(request_body).id for _ in range(3)]

    first = registry.edits.page(limit=2)
    second = registry.edits.page(limit=2, after=first.next)

    assert [edit.id for edit in first.data + second.data] == ids[::-1]
    assert second.next is None


def test_progress_is_seen_while_the_edit_runs(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)
    registry.edits.update(edit.id, status=JobStatus.RUNNING)
    progress = Progress(stage=Stage.TARGETS, done=1, total=4, eta_s=2.5)
    registry.live.progress(edit.id, progress)
    assert registry.edits.record(edit.id).progress == progress

    registry.edits.update(edit.id, status=JobStatus.SUCCEEDED, metrics=Metrics(efficacy=1.0))
    ended = registry.edits.record(edit.id)
    assert ended.progress is None
    assert ended.finished_at is not None
    assert registry.edits.folder.outcome(edit.id) == ended


def test_events_are_resumed_after_an_id(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)
    registry.live.log(edit.id, "info", "in words")
    registry.edits.update(edit.id, status=JobStatus.FAILED)

    events = registry.edits.events(edit.id)
    assert [event.name for event in events] == ["status", "log", "status"]
    assert events[1].data == {"level": "info", "message": "in words"}
    assert events[-1].data["status"] == "failed"
    assert registry.edits.events(edit.id, after=events[0].id) == events[1:]
    assert registry.edits.events(edit.id, after=events[-1].id) == []
    assert registry.live.newest_event(edit.id) == events[-1].id
    assert registry.live.news({edit.id: events[-1].id}, block_ms=20) == {}


def test_reading_events_waits_for_the_next_one(registry: Registry, request_body: EditRequest, later: Later) -> None:
    edits = [registry.edits.create_edit(request_body).id for _ in range(2)]
    last = {edit: registry.live.newest_event(edit) for edit in edits}
    later(0.2, lambda: registry.live.log(edits[1], "info", "late"))

    news = registry.live.news(last, block_ms=4_000)
    assert {edit: [event.name for event in told] for edit, told in news.items()} == {edits[1]: ["log"]}


def test_a_queued_edit_is_cancelled_at_once(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)

    assert registry.edits.cancel(edit.id).status is JobStatus.CANCELLED
    assert registry.queue.num_waiting(keys.EDIT_QUEUE) == 0
    assert registry.edits.cancel(edit.id).status is JobStatus.CANCELLED


def test_a_running_edit_is_asked_to_stop(registry: Registry, request_body: EditRequest, hold: Hold) -> None:
    edit = registry.edits.create_edit(request_body)
    hold(edit.id)
    registry.edits.update(edit.id, status=JobStatus.RUNNING)

    assert registry.edits.cancel(edit.id).status is JobStatus.RUNNING
    assert registry.live.is_to_stop(edit.id)


def test_what_has_ended_stays_as_it_ended(registry: Registry, request_body: EditRequest) -> None:
    edit = registry.edits.create_edit(request_body)
    registry.edits.update(edit.id, status=JobStatus.SUCCEEDED)

    assert registry.edits.update(edit.id, status=JobStatus.FAILED).status is JobStatus.SUCCEEDED
    assert registry.edits.update(edit.id, status=JobStatus.RUNNING).status is JobStatus.SUCCEEDED
    assert registry.edits.record(edit.id).status is JobStatus.SUCCEEDED
    with pytest.raises(Conflict, match="has ended: succeeded"):
        registry.edits.cancel(edit.id)


# Versions and what serves


def test_versions_are_listed_newest_first_with_the_base_last(registry: Registry, publish: Publish) -> None:
    publish()
    publish(status=VersionStatus.REJECTED)
    registry.activations.activate(1)

    first = registry.versions.page(limit=2)
    assert [(version.id, version.status) for version in first.data] == [(2, "rejected"), (1, "active")]
    assert first.next is not None
    assert [version.id for version in registry.versions.page(limit=2, after=int(first.next)).data] == [0]
    assert [version.id for version in registry.versions.page(limit=3).data] == [2, 1, 0]
    assert registry.versions.page(limit=3).next is None


def test_the_base_is_version_zero(registry: Registry) -> None:
    base = registry.versions.get(0)

    assert (base.status, base.digest, base.facts) == ("active", BASE_DIGEST, 0)
    assert len(registry.versions.facts(0)) == 0


@pytest.mark.parametrize("number", [1, -1, 10**9])
def test_an_unknown_version_is_named(registry: Registry, number: int) -> None:
    with pytest.raises(UnknownVersion):
        registry.versions.get(number)


def test_the_active_version_and_the_base_are_not_deleted(registry: Registry, publish: Publish) -> None:
    publish()
    registry.activations.activate(1)

    for number in (0, 1):
        with pytest.raises(Conflict):
            registry.versions.delete(number)
    registry.activations.rollback()
    registry.versions.delete(1)
    with pytest.raises(UnknownVersion):
        registry.versions.get(1)
    assert [version.id for version in registry.versions.page().data] == [0]


def test_an_activation_is_journaled_and_wakes_the_replicas(registry: Registry, publish: Publish) -> None:
    publish()
    cursor = registry.activations.cursor()

    activation = registry.activations.activate(1, by="someone")

    assert (activation.active, activation.previous) == (1, 0)
    assert registry.activations.active() == 1
    assert [(entry.active, entry.by) for entry in registry.activations.journal.entries()] == [(1, "someone")]
    woken = registry.activations.follow(cursor, 1000)
    assert woken != cursor
    assert registry.activations.follow(woken, 20) == woken


def test_what_cannot_be_used_is_not_activated(registry: Registry, publish: Publish) -> None:
    for _ in range(2):
        publish()
    publish(digest="c" * 64)
    registry.activations.activate(1)
    os.truncate(registry.settings.home / "versions/000002/delta.safetensors", 10)

    for number, error in ((2, CorruptArtifact), (3, WrongBaseModel), (4, UnknownVersion)):
        with pytest.raises(error):
            registry.activations.activate(number)
    assert registry.activations.active() == 1
    assert len(registry.activations.journal.entries()) == 1


def test_rollbacks_go_back_along_the_trail_to_the_base(registry: Registry, publish: Publish) -> None:
    for number in (1, 2, 3):
        publish()
        registry.activations.activate(number)
    registry.activations.activate(1)
    registry.versions.delete(2)

    assert [registry.activations.rollback().active for _ in range(3)] == [3, 1, 0]
    with pytest.raises(Conflict, match="nothing was active before"):
        registry.activations.rollback()
    assert registry.activations.rollback(to=3).active == 3
    assert registry.activations.rollback().active == 0


def test_activations_from_many_threads_follow_one_another(registry: Registry, publish: Publish) -> None:
    for _ in range(4):
        publish()

    def activate_all(_: int) -> None:
        for number in (1, 2, 3, 4):
            registry.activations.activate(number)

    threads = [threading.Thread(target=activate_all, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = registry.activations.journal.entries()
    assert all(later.previous == earlier.active for earlier, later in itertools.pairwise(entries))
    assert registry.activations.active() == entries[-1].active


def test_a_home_belongs_to_one_base_model(registry: Registry) -> None:
    registry.bind_base("the same under another name", BASE_DIGEST, MATRICES, ())
    with pytest.raises(WrongBaseModel, match="give it a home folder of its own"):
        registry.bind_base("other", "c" * 64, MATRICES, ())


def test_replicas_are_live_until_they_fall_silent(registry: Registry, later: Later) -> None:
    registry.replicas.announce(Replica(id="b", version=1, swap_ms=2.0))
    registry.replicas.announce(Replica(id="a", version=0))
    assert [replica.id for replica in registry.replicas.live()] == ["a", "b"]
    assert {replica.version for replica in registry.replicas.wait_for(1, timeout_s=0.05)} == {0, 1}

    later(0.1, lambda: registry.replicas.announce(Replica(id="a", version=1)))
    assert {replica.version for replica in registry.replicas.wait_for(1, timeout_s=10)} == {1}

    registry.replicas.withdraw("a")
    assert [replica.id for replica in registry.replicas.live()] == ["b"]


def test_a_silent_replica_is_gone(registry: Registry, settings: Settings) -> None:
    impatient = Registry(settings.model_copy(update={"replica_ttl_s": 1}))
    impatient.replicas.announce(Replica(id="a", version=0))
    assert len(impatient.replicas.live()) == 1
    deadline = time.monotonic() + 10
    while impatient.replicas.live():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    impatient.close()


def test_a_registry_needs_a_redis(settings: Settings) -> None:
    with pytest.raises(ValueError, match="ERRATA_REDIS_URL"):
        Registry(settings.model_copy(update={"redis_url": None}))
