"""What a worker decides of a version: of one made already, by a worker that died before it settled what becomes of it;
where the probes were changed meanwhile; of one whose weights are built again."""

from collections.abc import Iterator
from typing import cast

import pytest
import torch
from errata_client.records import Edit, Gate, JobStatus, Metrics, Probe, Stage, VersionStatus
from errata_registry.home import BoundBase
from errata_registry.jobs.requests import EditRequest, RebuildRequest

from errata import deltas
from errata.deltas import Delta
from errata.facts import Fact
from tests.registry.conftest import publish_version
from tests.worker.conftest import Crew

PARIS = Fact("Ada Lovelace", "was born in", "Paris")
ROME = Fact("Alan Turing", "was born in", "Rome")


@pytest.fixture(scope="module")
def bound(crew: Crew) -> Crew:
    """The crew, once a worker has bound its home."""
    crew.grow_to(1)
    crew.stop()
    return crew


@pytest.fixture
def between(bound: Crew) -> Iterator[Crew]:
    """The crew, with its home bound and nobody at work."""
    bound.registry.activations.activate(0)
    yield bound
    bound.stop()


def published_by_the_dead(crew: Crew, base: int | None = None) -> tuple[Edit, int]:
    """An edit and its version, which was to go live."""
    fact = Fact(subject=PARIS.subject, relation=PARIS.relation, object=PARIS.object)
    edit = crew.registry.edits.create_edit(EditRequest(facts=(fact,), base=base, gate=Gate(min_efficacy=None)))
    return edit, made_up(crew, PARIS, edit=edit.id)


def made_up(crew: Crew, *facts: Fact, edit: str = "edit_of_another") -> int:
    return publish_version(
        crew.registry, *facts, edit=edit, digest=BoundBase.of(crew.registry.settings.home).digest, parent=0
    ).id


def settled(crew: Crew, edit: Edit) -> Edit:
    crew.grow_to(1)
    return crew.ended(edit)


def test_it_goes_live_and_no_second_one_is_made(between: Crew) -> None:
    edit, version = published_by_the_dead(between)
    ended = settled(between, edit)
    assert (ended.status, ended.version, ended.base, ended.added) == (JobStatus.SUCCEEDED, version, 0, 1)
    assert between.registry.activations.active() == version == between.registry.artifacts.numbers()[-1]
    # A process that accepted it and was held up, until others had taken it up and ended it, queues it only now.
    between.registry.queue.put(edit.id)
    left = f"errata:job:{edit.id}*"
    between.wait(lambda: without_end(between, left) == [], "what was queued late is never forgotten")


def without_end(crew: Crew, pattern: str) -> list[str]:
    """Keys that would stay in Redis for ever, or for longer than what follows an end."""
    redis = crew.registry.redis
    return [name for name in cast(list[str], redis.keys(pattern)) if not 0 < redis.ttl(name) <= 3600]


def test_edits_are_made_in_the_order_in_which_they_were_accepted(between: Crew) -> None:
    edits, queue = between.registry.edits, between.registry.queue
    sent = [
        edits.create_edit(EditRequest(facts=(Fact(PARIS.subject, PARIS.relation, city),), gate=Gate(min_efficacy=None)))
        for city in ("Paris", "Rome", "Berlin")
    ]
    queue.forget(sent[0].id)  # as where Redis was full
    between.registry.live.forget(sent[0].id)
    queue.put(sent[1].id)  # as where it was lost, and recovery has found it
    between.grow_to(1)
    versions = [between.ended(edit).version for edit in sent]
    assert None not in versions and versions == sorted(versions, key=lambda version: version or 0)
    held = between.registry.versions.facts(between.registry.activations.active())
    assert [fact.object for fact in held] == ["Berlin"]


def test_it_is_built_anew_where_something_else_went_live(between: Crew) -> None:
    edit, version = published_by_the_dead(between)
    other = made_up(between, ROME)
    between.registry.activations.activate(other)
    ended = settled(between, edit)
    assert ended.status is JobStatus.SUCCEEDED and ended.version not in (None, version)
    assert (ended.base, between.registry.activations.active()) == (other, ended.version)
    assert version not in between.registry.artifacts.numbers()
    assert {fact.object for fact in between.registry.versions.facts(between.registry.activations.active())} == {
        "Paris",
        "Rome",
    }


@pytest.mark.parametrize("named_base", [True, False])
def test_it_is_kept_and_told_of_where_somebody_has_use_for_it(between: Crew, named_base: bool) -> None:
    edit, version = published_by_the_dead(between, base=0 if named_base else None)
    if not named_base:
        between.registry.versions.name("candidate", version)
    between.registry.activations.activate(other := made_up(between, ROME))
    ended = settled(between, edit)
    assert (ended.status, ended.version) == (JobStatus.REJECTED, version)
    assert ended.error is not None and ended.error.status == 409 and f"version {other}" in ended.error.detail
    assert between.registry.activations.active() == other and version in between.registry.artifacts.numbers()


def test_it_has_gone_live_where_it_was_activated_by_hand(between: Crew) -> None:
    edit, version = published_by_the_dead(between)
    between.registry.activations.activate(version)
    between.registry.activations.activate(other := made_up(between, ROME))
    ended = settled(between, edit)
    assert (ended.status, ended.version) == (JobStatus.SUCCEEDED, version)
    assert between.registry.activations.active() == other


def test_probes_that_are_put_while_a_version_is_built_hold_for_it(between: Crew) -> None:
    registry = between.registry
    fact = Fact(subject=PARIS.subject, relation=PARIS.relation, object=PARIS.object)
    between.grow_to(1)
    edit = registry.edits.create_edit(EditRequest(facts=(fact,), hparams={"num_steps": 60, "stop_loss": 0}))

    def is_at(*stages: Stage) -> bool:
        progress = registry.edits.record(edit.id).progress
        return progress is not None and progress.stage in stages

    between.wait(lambda: is_at(*Stage), "the edit was not begun")
    with registry.activations.deciding():  # the version has been measured, and can be published when this ends
        between.wait(lambda: is_at(Stage.PUBLISH), "the version was not built")
        registry.probes.replace([Probe(prompt=PARIS.prompt, answer="Rome")])
    ended = between.ended(edit)
    registry.probes.replace([])
    assert ended.status is JobStatus.REJECTED and ended.error is not None
    assert "is answered 'Paris', not 'Rome'" in ended.error.detail
    assert registry.activations.active() == 0


def test_a_version_built_again_to_other_bits_is_measured_anew_and_stays_as_it_was_decided(between: Crew) -> None:
    artifacts = between.registry.artifacts
    between.grow_to(1)
    number = between.ended(between.edit(1, {})).version
    assert number is not None
    built = artifacts.manifest(number)
    of_another_day = {"metrics": Metrics(efficacy=0), "not_taken": 7, "status": VersionStatus.REJECTED}
    other_bits = {0: Delta.of_factors(torch.ones(8, 1).double(), torch.ones(1, 16).double())}
    with artifacts.draft((), (), lambda path: deltas.write(path, other_bits)) as draft:
        artifacts.restore(built.model_copy(update=of_another_day), draft)
    artifacts.drop(number)

    edit = between.registry.edits.create_edit(RebuildRequest(rebuild=number))
    ended = between.ended(edit)
    rebuilt = artifacts.manifest(number)
    assert ended.status is JobStatus.SUCCEEDED and "they are measured anew" in " ".join(between.messages(edit))
    assert (rebuilt.metrics, rebuilt.not_taken) == (built.metrics, built.not_taken)
    assert rebuilt.status is VersionStatus.REJECTED
