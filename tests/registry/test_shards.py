from __future__ import annotations

import pytest

from errata.errors import CorruptArtifact
from errata.registry import recovery
from errata.registry.context_files import ContextFiles
from errata.registry.job_queue import shard_job
from errata.registry.records import Edit, EditRequest, EditStatus, FactBody, now
from errata.registry.recovery import recover
from errata.registry.registry import Registry
from errata.registry.shard_files import ShardOrder
from errata.settings import Settings
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
    registry.jobs.remove_edit(edit.id)
    registry.create_edit(request_body)
    edit = registry.update_edit(edit.id, status=EditStatus.RUNNING, attempts=1)
    registry.cut(orders(edit.id))
    return edit


def shards(edit: Edit, *numbers: int) -> list[str]:
    return [shard_job(edit.id, number) for number in numbers]


def finish(registry: Registry, edit: Edit, shard: int) -> None:
    """A worker has found the targets of a shard, and Redis does not know of its job any more."""
    order = registry.shards.order(edit.id, shard)
    assert order is not None
    registry.shards.done(order)


def test_shards_come_before_what_waits_and_the_build_after_them(registry: Registry, edit: Edit) -> None:
    *first, other = registry.jobs.waiting()
    assert first == shards(edit, 0, 1, 2)
    assert registry.jobs.deferred() == {edit.id}
    assert other != edit.id
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


def test_progress_is_that_of_all_shards_also_after_redis_lost_it(registry: Registry, edit: Edit) -> None:
    first, _, third = orders(edit.id)
    assert registry.note_search(first, 0) == KNOWN
    assert registry.note_search(first, 2) == KNOWN + 2
    assert registry.note_search(third, 1) == KNOWN + 3
    finish(registry, edit, 1)
    registry.redis.flushdb()
    assert registry.note_search(first, 2) == KNOWN + 2 + SIZES[1]


@pytest.mark.usefixtures("no_patience")
def test_a_lost_shard_is_queued_again_and_no_other(registry: Registry, edit: Edit, hold: Hold) -> None:
    first, second, third = shards(edit, 0, 1, 2)
    hold(first)
    hold(second, lease_s=-1)
    finish(registry, edit, 2)
    hold(third, lease_s=-1)
    recover(registry)

    assert registry.jobs.waiting()[0] == second
    assert registry.queued() == len(registry.jobs.waiting()) - 1
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

    assert registry.jobs.waiting()[0] == second
    assert registry.edit(edit.id).attempts == 1


@pytest.mark.usefixtures("no_patience")
def test_an_edit_whose_shards_lose_one_worker_after_another_fails(registry: Registry, edit: Edit, hold: Hold) -> None:
    for _ in range(registry.settings.max_attempts):
        hold(shard_job(edit.id, 1), lease_s=-1)
        recover(registry)

    ended = registry.edit(edit.id)
    assert ended.status is EditStatus.FAILED
    assert ended.error is not None
    assert "the worker died" in ended.error.detail
    assert registry.shards.pending(edit.id) == []


@pytest.mark.usefixtures("no_patience")
def test_a_build_that_nobody_woke_is_queued_when_the_shards_are_done(registry: Registry, edit: Edit) -> None:
    for shard in range(len(SIZES)):
        finish(registry, edit, shard)
    for _ in range(2):
        recover(registry)

    assert registry.jobs.waiting()[-1] == edit.id
    assert registry.jobs.deferred() == set()
    running = registry.edit(edit.id)
    assert (running.status, running.attempts) == (EditStatus.RUNNING, 1)


@pytest.mark.usefixtures("no_patience")
def test_a_lost_build_waits_for_the_shards_again(registry: Registry, edit: Edit) -> None:
    registry.jobs.remove_edit(edit.id)
    for _ in range(2):
        recover(registry)

    assert registry.jobs.deferred() == {edit.id}
    assert registry.jobs.waiting()[:3] == shards(edit, 0, 1, 2)


def test_a_wiped_redis_gets_back_the_shards_that_are_not_done(registry: Registry, edit: Edit) -> None:
    finish(registry, edit, 1)
    registry.redis.flushdb()
    recover(registry)

    assert set(registry.jobs.waiting()[:-1]) == set(shards(edit, 0, 2))
    assert registry.jobs.deferred() == {edit.id}


def test_an_edit_whose_shards_wait_is_cancelled_at_once(registry: Registry, edit: Edit, hold: Hold) -> None:
    hold(shard_job(edit.id, 1))
    assert registry.request_cancel(edit.id).status is EditStatus.RUNNING
    hold(shard_job(edit.id, 1), lease_s=-1)
    assert registry.request_cancel(edit.id).status is EditStatus.CANCELLED
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
