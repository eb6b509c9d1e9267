"""Edits whose targets are searched for in shards, by workers that come and go."""

import re
import signal

import pytest
import torch
from errata_client.records import Edit, JobStatus
from errata_registry import keys
from errata_registry.commits import FOLDER
from errata_registry.home import BoundBase
from errata_registry.jobs.queue import shard_task
from errata_registry.versions.facts import fact_of
from errata_worker.resident_model import ResidentModel
from errata_worker.target_shard import MAX_SHARDS, cut

from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods import memit
from tests.worker.conftest import Crew

QUICK = {"num_steps": 3}
SLOW = {"num_steps": 12, "stop_loss": 0.0}
ROUNDING = 1e-3


@pytest.fixture
def two_workers(crew: Crew) -> Crew:
    """Two of them, without work."""
    crew.grow_to(2)
    return crew


def shards_done(crew: Crew, edit: Edit) -> dict[int, str]:
    """Which worker did which shard, by what the events say."""
    said = [re.match(r"shard (\d+) of \d+: (\S+) found", message) for message in crew.messages(edit)]
    return {int(match[1]): match[2] for match in said if match}


def begun(crew: Crew, edit: Edit) -> set[int]:
    """The shards that workers have in hand and have begun to search for."""
    registry = crew.registry
    noted, held = registry.redis.hgetall(keys.searching(edit.id)), registry.queue.whereabouts().held
    return {
        shard
        for shard in registry.edits.shards.pending(edit.id)
        if str(shard) in noted and shard_task(edit.id, shard) in held
    }


def wait_for_a_shard(crew: Crew, edit: Edit) -> dict[str, int]:
    """Wait until one is done and both workers have begun others; gives what was found by then."""
    crew.wait(lambda: shards_done(crew, edit), "no shard was done")
    found = crew.found()
    crew.wait(lambda: len(begun(crew, edit)) == 2, "no two shards were in hand")
    return found


def relative_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_shards_are_of_like_size_and_keep_a_subject_together() -> None:
    facts = [Fact(f"subject {number // 2}", f"relation {number}", "object") for number in range(11)]
    shards = cut(facts, 4)
    assert [fact for shard in shards for fact in shard] == facts
    assert [len(shard) for shard in shards] == [4, 4, 3]
    assert len(cut(facts, 11)) == 1
    assert len(cut([Fact(f"subject {number}", "relation", "object") for number in range(3 * MAX_SHARDS)], 2)) == 256

    about_one = [Fact("subject", f"relation {number}", "object") for number in range(9)]
    assert cut([*about_one, *facts[:2]], 3) == [tuple(about_one), tuple(facts[:2])]


def test_two_workers_share_the_search_and_one_builds_what_one_alone_would_build(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(7, SLOW)
    ended = crew.ended(edit)
    assert (ended.status, ended.attempts) == (JobStatus.SUCCEEDED, 1)
    assert ended.version is not None
    versions = map(crew.registry.versions.get, crew.registry.artifacts.numbers())
    assert [version.id for version in versions if version.edit == edit.id] == [ended.version]
    done = shards_done(crew, edit)
    assert sorted(done) == [1, 2, 3]
    assert len(set(done.values())) == 2
    progress = [
        event.data["done"]
        for event in crew.registry.edits.events(edit.id)
        if event.name == "progress" and event.data["stage"] == "targets"
    ]
    assert progress == sorted(set(progress))
    assert (progress[0], progress[-1]) == (0, 7)
    assert any(3 < done < 7 for done in progress)

    resident = ResidentModel.load(crew.settings, FOLDER)
    hyperparameters = resident.defaults("memit").overridden(SLOW)
    assert isinstance(hyperparameters, MemitHyperparameters)
    alone = memit.build(
        resident.model,
        FactSet(map(fact_of, crew.registry.versions.facts(ended.version))),
        hyperparameters,
        resident.second_moments(hyperparameters),
    )
    manifest = crew.registry.artifacts.manifest(ended.version)
    assert manifest.contexts == alone.contexts
    deltas = crew.registry.versions.load_deltas(ended.version, resident.model.digest)
    assert deltas.keys() == alone.deltas.keys()
    for layer, delta in deltas.items():
        assert relative_distance(delta.dense(), alone.deltas[layer].dense()) < ROUNDING


def test_what_was_found_for_one_edit_is_not_searched_for_again(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(4, QUICK)
    assert crew.ended(edit).status is JobStatus.SUCCEEDED
    assert sorted(shards_done(crew, edit)) == [1, 2]
    found = crew.found()
    again = crew.again(edit)
    assert crew.ended(again).status is JobStatus.SUCCEEDED
    assert crew.messages(again) == ["4 of 4 targets are known"]
    assert crew.found() == found


def test_a_dry_run_that_is_cut_measures_and_makes_no_version(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(5, QUICK, dry_run=True)
    ended = crew.ended(edit)
    assert (ended.status, ended.version) == (JobStatus.SUCCEEDED, None)
    assert ended.metrics is not None and ended.metrics.efficacy is not None
    assert sorted(shards_done(crew, edit)) == [1, 2]
    assert crew.registry.artifacts.of_edit(edit.id) is None


def test_two_edits_that_are_the_same_are_searched_for_side_by_side(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(7, SLOW)
    both = [crew.ended(sent) for sent in (edit, crew.again(edit))]
    assert [ended.status for ended in both] == [JobStatus.SUCCEEDED] * 2
    first, second = (
        crew.registry.versions.load_deltas(ended.version, BoundBase.of(crew.registry.settings.home).digest)
        for ended in both
        if ended.version is not None
    )
    assert both[0].version != both[1].version
    for layer, delta in first.items():
        assert relative_distance(delta.dense(), second[layer].dense()) < ROUNDING


def test_a_wiped_redis_costs_no_shard_that_is_done(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(10, SLOW)
    found = wait_for_a_shard(crew, edit)
    crew.registry.redis.flushdb()
    assert crew.ended(edit).status is JobStatus.SUCCEEDED
    assert found.items() <= crew.found().items()


def test_an_edit_is_cancelled_while_its_shards_run(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(10, SLOW)
    wait_for_a_shard(crew, edit)
    crew.registry.edits.cancel(edit.id)
    ended = crew.ended(edit)
    assert (ended.status, ended.version) == (JobStatus.CANCELLED, None)
    # Whoever ended it tidies up after that.
    crew.wait(lambda: not crew.registry.edits.shards.pending(edit.id), "its shards were not let go")
    assert crew.ended(crew.edit(1, QUICK)).status is JobStatus.SUCCEEDED


def test_what_goes_wrong_in_a_shard_ends_the_edit(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(13, SLOW)
    wait_for_a_shard(crew, edit)
    last = max(crew.registry.edits.shards.pending(edit.id))
    (crew.settings.home / "edits" / edit.id / "shards" / f"{last}.json").write_text("{")
    ended = crew.ended(edit)
    assert ended.status is JobStatus.FAILED
    assert ended.error is not None
    assert f"the order of shard {last} cannot be read" in ended.error.detail
    assert crew.ended(crew.edit(1, QUICK)).status is JobStatus.SUCCEEDED


def test_a_killed_worker_costs_its_shard_only(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(10, SLOW)
    found = wait_for_a_shard(crew, edit)
    killed = crew.signal_one(signal.SIGKILL)
    before = shards_done(crew, edit)
    ended = crew.ended(edit)
    assert (ended.status, ended.attempts) == (JobStatus.SUCCEEDED, 2)
    assert found.items() <= crew.found().items()
    done = shards_done(crew, edit)
    assert sorted(done) == list(range(1, 5))
    assert len([message for message in crew.messages(edit) if " found " in message]) == 4
    assert before.items() < done.items()
    assert not any(killed in worker for shard, worker in done.items() if shard not in before)


def test_a_stopped_worker_puts_its_shard_back_and_that_was_no_attempt(two_workers: Crew) -> None:
    crew = two_workers
    edit = crew.edit(10, SLOW)
    wait_for_a_shard(crew, edit)
    stopped = crew.signal_one(signal.SIGTERM)
    ended = crew.ended(edit)
    assert (ended.status, ended.attempts) == (JobStatus.SUCCEEDED, 1)
    assert any(stopped in message and "goes back into the queue" in message for message in crew.messages(edit))
