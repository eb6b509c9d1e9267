from typing import Any

import pytest
from errata_client.records import Edit, JobStatus, Progress, Stage
from errata_registry import keys
from errata_registry.jobs import recovery
from errata_registry.jobs.queue import shard_task
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.requests import EditRequest
from errata_registry.jobs.shards import ShardOrder
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.stored import now
from errata_registry.versions.contexts import ContextFiles

from errata.errors import CorruptArtifact, UnknownEdit
from errata.facts import Fact
from tests.registry.conftest import Hold

SIZES = (3, 2, 2)
KNOWN = 4


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is in neither place is taken for lost at the second look, however soon."""
    monkeypatch.setattr(recovery, "CLAIM_S", 0.0)


def orders(edit_id: str) -> list[ShardOrder]:
    """Of three shards, of an edit that has four more facts whose targets are known."""
    return [
        ShardOrder(
            edit=edit_id,
            shard=shard,
            facts=tuple(Fact(subject=f"Ada {shard}.{n}", relation="lives in", object="Rome") for n in range(size)),
            contexts=("The. ",),
            hparams={"layers": [2]},
            sizes=SIZES,
            total=sum(SIZES) + KNOWN,
            cut_at=now(),
        )
        for shard, size in enumerate(SIZES)
    ]


@pytest.fixture
def edit(registry: Registry, request_body: EditRequest) -> Edit:
    """A running edit whose worker has shared its targets out and left. Another edit waits."""
    edit = registry.edits.create_edit(request_body)
    registry.queue.forget(edit.id)
    registry.edits.create_edit(request_body)
    edit = registry.edits.update(edit.id, status=JobStatus.RUNNING, attempts=1, started_at=now())
    registry.edits.cut(orders(edit.id))
    return edit


def shards(edit: Edit, *numbers: int) -> list[str]:
    return [shard_task(edit.id, number) for number in numbers]


def finish(registry: Registry, edit: Edit, shard: int) -> None:
    """A worker has found the targets of a shard, and Redis does not know of its job any more."""
    order = registry.edits.shards.order(edit.id, shard)
    assert order is not None
    registry.edits.shards.done(order)


def test_shards_wait_behind_edits_first_come_first(registry: Registry, edit: Edit, request_body: EditRequest) -> None:
    later = registry.edits.create_edit(request_body)
    registry.queue.forget(later.id)
    registry.edits.update(later.id, status=JobStatus.RUNNING, attempts=1, started_at=now())
    registry.edits.cut(orders(later.id))

    other, *first = registry.queue.waiting()
    assert first == shards(edit, 0, 1, 2) + shards(later, 0, 1, 2)
    assert registry.queue.whereabouts().deferred == {edit.id, later.id}
    assert other not in (edit.id, later.id)
    assert registry.queue.num_waiting(keys.EDIT_QUEUE) == 1


def test_an_edit_is_cut_once(registry: Registry, edit: Edit) -> None:
    finish(registry, edit, 1)
    registry.edits.shards.write(orders(edit.id))
    assert registry.edits.shards.pending(edit.id) == [0, 2]

    for shard in (0, 2):
        finish(registry, edit, shard)
    registry.edits.shards.write(orders(edit.id))
    assert registry.edits.shards.pending(edit.id) == [0, 1, 2]


def test_an_order_that_cannot_be_read_is_named(registry: Registry, edit: Edit, settings: Settings) -> None:
    (settings.home / "edits" / edit.id / "shards" / "1.json").write_bytes(b"{")
    with pytest.raises(CorruptArtifact, match=f"{edit.id}: the order of shard 1 cannot be read"):
        registry.edits.shards.order(edit.id, 1)


def test_an_order_for_another_shard_is_refused(registry: Registry, edit: Edit, settings: Settings) -> None:
    folder = settings.home / "edits" / edit.id / "shards"
    (folder / "2.json").rename(folder / "1.json")
    with pytest.raises(CorruptArtifact, match=f"the order of shard 1 is one for shard 2 of {edit.id}"):
        registry.edits.shards.order(edit.id, 1)


def test_what_is_no_edit_has_no_files(registry: Registry, settings: Settings) -> None:
    outside = settings.home / "outside" / "shards"
    outside.mkdir(parents=True)
    for action in (registry.edits.shards.drop, registry.edits.shards.pending, registry.edits.folder.outcome):
        with pytest.raises(UnknownEdit):
            action("../outside")
    assert outside.exists()


def test_progress_is_that_of_all_shards_also_after_redis_lost_it(registry: Registry, edit: Edit) -> None:
    first, _, third = orders(edit.id)
    assert registry.edits.note_search(first, 0) == KNOWN
    assert registry.edits.note_search(first, 2) == KNOWN + 2
    assert registry.edits.note_search(third, 1) == KNOWN + 3
    finish(registry, edit, 1)
    registry.redis.flushdb()
    assert registry.edits.note_search(first, 2) == KNOWN + 2 + SIZES[1]


def test_progress_is_told_when_there_is_some_and_never_goes_back(registry: Registry, edit: Edit) -> None:
    def told(stage: Stage, done: int) -> list[int]:
        seen = registry.edits.events(edit.id)[-1].id
        registry.redis.delete(keys.told(edit.id))  # some time has passed
        registry.live.progress(edit.id, Progress(stage=stage, done=done, total=4))
        return [event.data["done"] for event in registry.edits.events(edit.id, after=seen)]

    assert [told(Stage.TARGETS, done) for done in (1, 1, 3, 2, 4, 4)] == [[1], [], [3], [], [4], []]
    assert told(Stage.SPREAD, 0) == [0]
    registry.live.progress(edit.id, Progress(stage=Stage.SPREAD, done=1, total=4))  # too soon after it
    assert told(Stage.TARGETS, 0) == [0]  # building anew, on another version

    registry.edits.update(edit.id, status=JobStatus.QUEUED)
    registry.edits.update(edit.id, status=JobStatus.RUNNING)
    assert told(Stage.TARGETS, 0) == [0]
    steps = [event.data for event in registry.edits.events(edit.id) if event.name == "progress"]
    assert ("spread", 1) not in [(step["stage"], step["done"]) for step in steps]


@pytest.mark.usefixtures("no_patience")
def test_a_lost_shard_is_queued_again_and_no_other(registry: Registry, edit: Edit, hold: Hold) -> None:
    first, second, third = shards(edit, 0, 1, 2)
    hold(first)
    hold(second, lease_s=-1)
    finish(registry, edit, 2)
    hold(third, lease_s=-1)
    recover(registry)

    assert registry.queue.waiting()[1:] == [second]
    assert registry.queue.whereabouts().held == {first}
    assert registry.queue.whereabouts().deferred == {edit.id}
    running = registry.edits.record(edit.id)
    assert (running.status, running.attempts) == (JobStatus.RUNNING, 2)


@pytest.mark.usefixtures("no_patience")
def test_a_shard_that_its_worker_put_back_counts_as_no_attempt(registry: Registry, edit: Edit, hold: Hold) -> None:
    second = shard_task(edit.id, 1)
    hold(second, lease_s=None)
    recover(registry)
    assert second not in registry.queue.waiting()
    recover(registry)

    assert registry.queue.waiting()[1] == second
    assert registry.edits.record(edit.id).attempts == 1


def test_shards_that_are_lost_at_once_are_queued_again(registry: Registry, edit: Edit, hold: Hold) -> None:
    for job in shards(edit, 0, 1, 2):
        hold(job, lease_s=-1)
    recover(registry)

    assert registry.queue.waiting()[1:] == shards(edit, 0, 1, 2)
    running = registry.edits.record(edit.id)
    assert (running.status, running.attempts) == (JobStatus.RUNNING, 4)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("ending", [{"lease_s": -1}, {"fails": True}])
def test_an_edit_of_which_one_shard_loses_worker_after_worker_fails(
    registry: Registry, edit: Edit, hold: Hold, ending: dict[str, Any]
) -> None:
    for _ in range(registry.settings.max_attempts):
        assert not registry.edits.record(edit.id).status.final
        hold(shard_task(edit.id, 1), **ending)
        for _ in range(2):
            recover(registry)

    ended = registry.edits.record(edit.id)
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert "2 times with target shard 2 of the edit in hand" in ended.error.detail
    assert registry.edits.shards.pending(edit.id) == []
    assert len(registry.queue.waiting()) == 1
    assert (
        registry.queue.whereabouts().deferred
        == registry.queue.whereabouts().abandoned
        == registry.queue.whereabouts().failed
        == set()
    )
    assert not [key for key in registry.redis.scan_iter("rq:*") if edit.id in str(key)]


def test_a_worker_that_dies_before_it_has_queued_the_shards_costs_one_attempt(
    registry: Registry, request_body: EditRequest, hold: Hold
) -> None:
    edit = registry.edits.create_edit(request_body)
    hold(edit.id, lease_s=-1)
    registry.edits.update(edit.id, status=JobStatus.RUNNING, attempts=1, started_at=now())
    registry.edits.shards.write(orders(edit.id))
    for _ in range(registry.settings.max_attempts + 1):
        recover(registry)

        assert registry.queue.waiting() == shards(edit, 0, 1, 2)
        assert registry.queue.whereabouts().deferred == {edit.id}
        running = registry.edits.record(edit.id)
        assert (running.status, running.attempts) == (JobStatus.RUNNING, 2)


@pytest.mark.usefixtures("no_patience")
def test_an_edit_that_left_again_before_its_shards_were_done_has_lost_no_worker(
    registry: Registry, edit: Edit, hold: Hold
) -> None:
    registry.queue.put_begun(edit.id)  # woken too soon
    hold(edit.id, lease_s=None)
    for shard in range(len(SIZES)):
        finish(registry, edit, shard)
        hold(shard_task(edit.id, shard), lease_s=None)
    for _ in range(2):
        recover(registry)

    assert registry.queue.waiting()[0] == edit.id
    running = registry.edits.record(edit.id)
    assert (running.status, running.attempts) == (JobStatus.RUNNING, 1)


@pytest.mark.usefixtures("no_patience")
def test_a_build_that_nobody_woke_is_queued_when_the_shards_are_done(registry: Registry, edit: Edit) -> None:
    for shard in range(len(SIZES)):
        finish(registry, edit, shard)
    for _ in range(2):
        recover(registry)

    assert registry.queue.waiting()[0] == edit.id
    assert registry.queue.num_waiting(keys.EDIT_QUEUE) == 1
    assert registry.queue.whereabouts().deferred == set()
    running = registry.edits.record(edit.id)
    assert (running.status, running.attempts) == (JobStatus.RUNNING, 1)


def test_an_edit_that_is_gone_on_with_may_be_cut_again_by_its_own_job(
    registry: Registry, edit: Edit, hold: Hold
) -> None:
    for shard in range(len(SIZES)):
        finish(registry, edit, shard)
    registry.queue.put_begun(edit.id)
    hold(edit.id)
    registry.edits.cut(orders(edit.id))

    assert registry.queue.whereabouts().held == registry.queue.whereabouts().deferred == {edit.id}
    assert registry.queue.waiting()[1:] == shards(edit, 0, 1, 2)


@pytest.mark.usefixtures("no_patience")
def test_a_lost_build_waits_for_the_shards_again(registry: Registry, edit: Edit) -> None:
    registry.queue.forget(edit.id)
    for _ in range(2):
        recover(registry)

    assert registry.queue.whereabouts().deferred == {edit.id}
    assert registry.queue.waiting()[1:] == shards(edit, 0, 1, 2)


def test_a_wiped_redis_gets_back_the_shards_that_are_not_done(registry: Registry, edit: Edit) -> None:
    finish(registry, edit, 1)
    registry.redis.flushdb()
    recover(registry)

    assert registry.queue.waiting()[1:] == shards(edit, 0, 2)
    assert registry.queue.whereabouts().deferred == {edit.id}


def test_an_edit_whose_shards_wait_is_cancelled_at_once(registry: Registry, edit: Edit, hold: Hold) -> None:
    hold(shard_task(edit.id, 1))
    assert registry.edits.cancel(edit.id).status is JobStatus.RUNNING
    hold(shard_task(edit.id, 1), lease_s=-1)
    assert registry.edits.cancel(edit.id).status is JobStatus.CANCELLED
    assert registry.edits.shards.pending(edit.id) == []


def test_nothing_is_left_of_an_edit_whose_worker_died_as_it_ended(registry: Registry, edit: Edit, hold: Hold) -> None:
    hold(shard_task(edit.id, 0))
    hold(shard_task(edit.id, 1), lease_s=-1)
    registry.edits.folder.finish(edit.model_copy(update={"status": JobStatus.FAILED}))
    recover(registry)
    assert registry.edits.shards.pending(edit.id) == []
    assert registry.queue.whereabouts().held == {shard_task(edit.id, 0)}
    assert registry.queue.whereabouts().abandoned == registry.queue.whereabouts().deferred == set()

    hold(shard_task(edit.id, 0), lease_s=-1)
    recover(registry)
    assert registry.queue.whereabouts().abandoned == set()

    registry.edits.cut(orders(edit.id))
    assert registry.edits.shards.pending(edit.id) == []


def test_the_prefixes_that_were_kept_first_count(settings: Settings) -> None:
    kept = ContextFiles(settings.home / "contexts")
    assert kept.load("d" * 64, 1) is None
    assert kept.keep("d" * 64, 1, ("The first. ",)) == ("The first. ",)
    assert kept.keep("d" * 64, 1, ("The second. ",)) == ("The first. ",)
    assert kept.keep("d" * 64, 2, ("The second. ",)) == ("The second. ",)

    (settings.home / "contexts" / ("d" * 64) / "1.json").write_text("{")
    assert kept.load("d" * 64, 1) is None
    assert kept.keep("d" * 64, 1, ("The second. ",)) == ("The second. ",)
