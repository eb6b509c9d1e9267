from __future__ import annotations

from typing import Any

import pytest
from errata_registry import keys
from errata_registry.jobs import lost_jobs
from errata_registry.jobs.queue import shard_job
from errata_registry.jobs.recovery import recover
from errata_registry.jobs.shards import ShardOrder
from errata_registry.records import Edit, EditRequest, EditStatus, FactBody, Progress, Stage, now
from errata_registry.registry import Registry
from errata_registry.settings import Settings
from errata_registry.versions.contexts import ContextFiles

from errata.errors import CorruptArtifact, UnknownEdit
from tests.registry.conftest import Hold

SIZES = (3, 2, 2)
KNOWN = 4


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is in neither place is taken for lost at the second look, however soon."""
    monkeypatch.setattr(lost_jobs, "CLAIM_S", 0.0)


def orders(edit_id: str) -> list[ShardOrder]:
    """Of three shards, of an edit that has four more facts whose targets are known."""
    return [
        ShardOrder(
            edit=edit_id,
            shard=shard,
            facts=tuple(FactBody(subject=f"Ada {shard}.{n}", relation="lives in", object="Rome") for n in range(size)),
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
    edit, _ = registry.create_edit(request_body)
    registry.jobs.forget_edit(edit.id)
    registry.create_edit(request_body)
    edit = registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=1, started_at=now())
    registry.cut(orders(edit.id))
    return edit


def shards(edit: Edit, *numbers: int) -> list[str]:
    return [shard_job(edit.id, number) for number in numbers]


def finish(registry: Registry, edit: Edit, shard: int) -> None:
    """A worker has found the targets of a shard, and Redis does not know of its job any more."""
    order = registry.shards.order(edit.id, shard)
    assert order is not None
    registry.shards.done(order)


def test_shards_wait_behind_edits_first_come_first(registry: Registry, edit: Edit, request_body: EditRequest) -> None:
    later, _ = registry.create_edit(request_body)
    registry.jobs.forget_edit(later.id)
    registry.update_edit(later.id, status=EditStatus.RUNNING, attempts=1, started_at=now())
    registry.cut(orders(later.id))

    other, *first = registry.jobs.waiting()
    assert first == shards(edit, 0, 1, 2) + shards(later, 0, 1, 2)
    assert registry.jobs.deferred() == {edit.id, later.id}
    assert other not in (edit.id, later.id)
    assert registry.queued() == 1


def test_an_edit_is_cut_once(registry: Registry, edit: Edit) -> None:
    finish(registry, edit, 1)
    registry.shards.write(orders(edit.id))
    assert registry.shards.pending(edit.id) == [0, 2]

    for shard in (0, 2):
        finish(registry, edit, shard)
    registry.shards.write(orders(edit.id))
    assert registry.shards.pending(edit.id) == [0, 1, 2]


def test_an_order_that_cannot_be_read_is_named(registry: Registry, edit: Edit, settings: Settings) -> None:
    (settings.home / "edits" / edit.id / "shards" / "1.json").write_bytes(b"{")
    with pytest.raises(CorruptArtifact, match=f"{edit.id}: the order of shard 1 cannot be read"):
        registry.shards.order(edit.id, 1)


def test_an_order_for_another_shard_is_refused(registry: Registry, edit: Edit, settings: Settings) -> None:
    folder = settings.home / "edits" / edit.id / "shards"
    (folder / "2.json").rename(folder / "1.json")
    with pytest.raises(CorruptArtifact, match=f"the order of shard 1 is one for shard 2 of {edit.id}"):
        registry.shards.order(edit.id, 1)


def test_what_is_no_edit_has_no_files(registry: Registry, settings: Settings) -> None:
    outside = settings.home / "outside" / "shards"
    outside.mkdir(parents=True)
    for action in (registry.shards.drop, registry.shards.pending, registry.edit_files.outcome):
        with pytest.raises(UnknownEdit):
            action("../outside")
    assert outside.exists()


def test_progress_is_that_of_all_shards_also_after_redis_lost_it(registry: Registry, edit: Edit) -> None:
    first, _, third = orders(edit.id)
    assert registry.note_search(first, 0) == KNOWN
    assert registry.note_search(first, 2) == KNOWN + 2
    assert registry.note_search(third, 1) == KNOWN + 3
    finish(registry, edit, 1)
    registry.redis.flushdb()
    assert registry.note_search(first, 2) == KNOWN + 2 + SIZES[1]


def test_progress_is_told_when_there_is_some_and_never_goes_back(registry: Registry, edit: Edit) -> None:
    def told(stage: Stage, done: int) -> list[int]:
        seen = registry.events(edit.id)[-1].id
        registry.redis.delete(keys.edit_told(edit.id))  # some time has passed
        registry.progress(edit.id, Progress(stage=stage, done=done, total=4))
        return [event.data["done"] for event in registry.events(edit.id, after=seen)]

    assert [told(Stage.TARGETS, done) for done in (1, 1, 3, 2, 4, 4)] == [[1], [], [3], [], [4], []]
    assert told(Stage.SPREAD, 0) == [0]
    registry.progress(edit.id, Progress(stage=Stage.SPREAD, done=1, total=4))  # too soon after it
    assert told(Stage.TARGETS, 0) == [0]  # building anew, on another version

    registry.update_edit(edit.id, status=EditStatus.QUEUED)
    registry.update_edit(edit.id, status=EditStatus.RUNNING)
    assert told(Stage.TARGETS, 0) == [0]
    steps = [event.data for event in registry.events(edit.id) if event.name == "progress"]
    assert ("spread", 1) not in [(step["stage"], step["done"]) for step in steps]


@pytest.mark.usefixtures("no_patience")
def test_a_lost_shard_is_queued_again_and_no_other(registry: Registry, edit: Edit, hold: Hold) -> None:
    first, second, third = shards(edit, 0, 1, 2)
    hold(first)
    hold(second, lease_s=-1)
    finish(registry, edit, 2)
    hold(third, lease_s=-1)
    recover(registry)

    assert registry.jobs.waiting()[1:] == [second]
    assert registry.jobs.held() == {first}
    assert registry.jobs.deferred() == {edit.id}
    running = registry.edit(edit.id)
    assert (running.status, running.attempts) == (EditStatus.RUNNING, 2)


@pytest.mark.usefixtures("no_patience")
def test_a_shard_that_its_worker_put_back_counts_as_no_attempt(registry: Registry, edit: Edit, hold: Hold) -> None:
    second = shard_job(edit.id, 1)
    hold(second, lease_s=None)
    recover(registry)
    assert second not in registry.jobs.waiting()
    recover(registry)

    assert registry.jobs.waiting()[1] == second
    assert registry.edit(edit.id).attempts == 1


def test_shards_that_are_lost_at_once_are_queued_again(registry: Registry, edit: Edit, hold: Hold) -> None:
    for job in shards(edit, 0, 1, 2):
        hold(job, lease_s=-1)
    recover(registry)

    assert registry.jobs.waiting()[1:] == shards(edit, 0, 1, 2)
    running = registry.edit(edit.id)
    assert (running.status, running.attempts) == (EditStatus.RUNNING, 4)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("ending", [{"lease_s": -1}, {"fails": True}])
def test_an_edit_of_which_one_shard_loses_worker_after_worker_fails(
    registry: Registry, edit: Edit, hold: Hold, ending: dict[str, Any]
) -> None:
    for _ in range(registry.settings.max_attempts):
        assert not registry.edit(edit.id).status.final
        hold(shard_job(edit.id, 1), **ending)
        for _ in range(2):
            recover(registry)

    ended = registry.edit(edit.id)
    assert ended.status is EditStatus.FAILED
    assert ended.error is not None
    assert "2 times with target shard 2 of the edit in hand" in ended.error.detail
    assert registry.shards.pending(edit.id) == []
    assert len(registry.jobs.waiting()) == 1
    assert registry.jobs.deferred() == registry.jobs.abandoned() == registry.jobs.failed() == set()
    assert not [key for key in registry.redis.scan_iter("rq:*") if edit.id in str(key)]


def test_a_worker_that_dies_before_it_has_queued_the_shards_costs_one_attempt(
    registry: Registry, request_body: EditRequest, hold: Hold
) -> None:
    edit, _ = registry.create_edit(request_body)
    hold(edit.id, lease_s=-1)
    registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=1, started_at=now())
    registry.shards.write(orders(edit.id))
    for _ in range(registry.settings.max_attempts + 1):
        recover(registry)

        assert registry.jobs.waiting() == shards(edit, 0, 1, 2)
        assert registry.jobs.deferred() == {edit.id}
        running = registry.edit(edit.id)
        assert (running.status, running.attempts) == (EditStatus.RUNNING, 2)


@pytest.mark.usefixtures("no_patience")
def test_an_edit_that_left_again_before_its_shards_were_done_has_lost_no_worker(
    registry: Registry, edit: Edit, hold: Hold
) -> None:
    registry.jobs.put_begun_edit(edit.id)  # woken too soon
    hold(edit.id, lease_s=None)
    for shard in range(len(SIZES)):
        finish(registry, edit, shard)
        hold(shard_job(edit.id, shard), lease_s=None)
    for _ in range(2):
        recover(registry)

    assert registry.jobs.waiting()[0] == edit.id
    running = registry.edit(edit.id)
    assert (running.status, running.attempts) == (EditStatus.RUNNING, 1)


@pytest.mark.usefixtures("no_patience")
def test_a_build_that_nobody_woke_is_queued_when_the_shards_are_done(registry: Registry, edit: Edit) -> None:
    for shard in range(len(SIZES)):
        finish(registry, edit, shard)
    for _ in range(2):
        recover(registry)

    assert registry.jobs.waiting()[0] == edit.id
    assert registry.queued() == 1
    assert registry.jobs.deferred() == set()
    running = registry.edit(edit.id)
    assert (running.status, running.attempts) == (EditStatus.RUNNING, 1)


def test_an_edit_that_is_gone_on_with_may_be_cut_again_by_its_own_job(
    registry: Registry, edit: Edit, hold: Hold
) -> None:
    for shard in range(len(SIZES)):
        finish(registry, edit, shard)
    registry.jobs.put_begun_edit(edit.id)
    hold(edit.id)
    registry.cut(orders(edit.id))

    assert registry.jobs.held() == registry.jobs.deferred() == {edit.id}
    assert registry.jobs.waiting()[1:] == shards(edit, 0, 1, 2)


@pytest.mark.usefixtures("no_patience")
def test_a_lost_build_waits_for_the_shards_again(registry: Registry, edit: Edit) -> None:
    registry.jobs.forget_edit(edit.id)
    for _ in range(2):
        recover(registry)

    assert registry.jobs.deferred() == {edit.id}
    assert registry.jobs.waiting()[1:] == shards(edit, 0, 1, 2)


def test_a_wiped_redis_gets_back_the_shards_that_are_not_done(registry: Registry, edit: Edit) -> None:
    finish(registry, edit, 1)
    registry.redis.flushdb()
    recover(registry)

    assert registry.jobs.waiting()[1:] == shards(edit, 0, 2)
    assert registry.jobs.deferred() == {edit.id}


def test_an_edit_whose_shards_wait_is_cancelled_at_once(registry: Registry, edit: Edit, hold: Hold) -> None:
    hold(shard_job(edit.id, 1))
    assert registry.request_cancel(edit.id).status is EditStatus.RUNNING
    hold(shard_job(edit.id, 1), lease_s=-1)
    assert registry.request_cancel(edit.id).status is EditStatus.CANCELLED
    assert registry.shards.pending(edit.id) == []


def test_nothing_is_left_of_an_edit_whose_worker_died_as_it_ended(registry: Registry, edit: Edit, hold: Hold) -> None:
    hold(shard_job(edit.id, 0))
    hold(shard_job(edit.id, 1), lease_s=-1)
    registry.edit_files.finish(edit.model_copy(update={"status": EditStatus.FAILED}))
    recover(registry)
    assert registry.shards.pending(edit.id) == []
    assert registry.jobs.held() == {shard_job(edit.id, 0)}
    assert registry.jobs.abandoned() == registry.jobs.deferred() == set()

    hold(shard_job(edit.id, 0), lease_s=-1)
    recover(registry)
    assert registry.jobs.abandoned() == set()

    registry.cut(orders(edit.id))
    assert registry.shards.pending(edit.id) == []


def test_the_prefixes_that_were_kept_first_count(settings: Settings) -> None:
    kept = ContextFiles(settings.home / "contexts")
    assert kept.load("d" * 64, 1) is None
    assert kept.keep("d" * 64, 1, ("The first. ",)) == ("The first. ",)
    assert kept.keep("d" * 64, 1, ("The second. ",)) == ("The first. ",)
    assert kept.keep("d" * 64, 2, ("The second. ",)) == ("The second. ",)

    (settings.home / "contexts" / ("d" * 64) / "1.json").write_text("{")
    assert kept.load("d" * 64, 1) is None
    assert kept.keep("d" * 64, 1, ("The second. ",)) == ("The second. ",)
