"""What may be tried again, when it is asked for and when it is built."""

from typing import Any

import pytest
from errata_client.records import Edit, FactOutcome, JobStatus
from errata_registry.jobs.requests import EditRequest, RetryRequest
from errata_registry.jobs.retries import refuse_outdated, retry_edit
from errata_registry.registry import Registry

from errata.errors import Conflict
from errata.facts import Fact
from tests.registry.conftest import Publish

ADA = Fact("Ada Lovelace", "was born in", "Paris")
ALAN = Fact("Alan Turing", "was born in", "Rome")
AT_THE_END = {"num_steps": 500, "clamp": 100, "stop_loss": 0, "boundary_factor": 1}


def edit_of(registry: Registry, publish: Publish, missed: Fact, *took: Fact) -> tuple[Edit, int]:
    """An edit that has ended, and its version, which serves and does not say the first of the facts."""
    facts = (missed, *took)
    edit = registry.edits.create_edit(EditRequest(facts=facts))
    version = publish(*facts, edit=edit.id).id
    registry.edits.keep_fact_outcomes(edit.id, [outcome_of(fact, took=fact is not missed) for fact in facts])
    registry.activations.activate(version)
    return registry.edits.update(edit.id, status=JobStatus.SUCCEEDED, version=version, base=0), version


def outcome_of(fact: Fact, *, took: bool) -> FactOutcome:
    parts: dict[str, Any] = {"id": fact.id, "subject": fact.subject, "relation": fact.relation, "object": fact.object}
    return FactOutcome(**parts, took=took, known=False, likelier=took, probability_before=0.1, probability_after=0.5)


def test_a_new_try_does_not_bring_back_what_was_withdrawn_before_it_was_built(
    registry: Registry, publish: Publish
) -> None:
    edit, version = edit_of(registry, publish, ADA)
    request = registry.edits.folder.accepted(retry_edit(registry, edit.id, RetryRequest()).id).request
    assert isinstance(request, EditRequest)
    refuse_outdated(registry, edit.id, request, version)
    without = publish(ALAN, parent=version).id
    with pytest.raises(Conflict, match=rf"others in version {without}: 'Ada Lovelace'.* is not there any more"):
        refuse_outdated(registry, edit.id, request, without)


def test_a_new_try_does_not_build_a_part_of_the_edit(registry: Registry, publish: Publish) -> None:
    edit, _ = edit_of(registry, publish, ADA, ALAN)
    request = registry.edits.folder.accepted(retry_edit(registry, edit.id, RetryRequest()).id).request
    assert isinstance(request, EditRequest) and [body.subject for body in request.facts] == [ADA.subject]
    with pytest.raises(Conflict, match="version 0 does not have what"):
        refuse_outdated(registry, edit.id, request, 0)


def test_a_new_try_refines_more_where_the_search_cannot_be_stronger(registry: Registry, publish: Publish) -> None:
    edit, _ = edit_of(registry, publish, Fact(ADA.subject, ADA.relation, ADA.object, search=AT_THE_END))
    request = registry.edits.folder.accepted(retry_edit(registry, edit.id, RetryRequest()).id).request
    assert isinstance(request, EditRequest) and request.hparams["refinement_steps"] == 20


@pytest.mark.parametrize(("search", "hparams"), [({"num_steps": 30}, {"num_steps": 30}), ({}, {"num_steps": 25})])
def test_a_new_try_is_refused_that_would_search_as_before(
    registry: Registry, publish: Publish, search: dict[str, float], hparams: dict[str, float]
) -> None:
    edit, _ = edit_of(registry, publish, Fact(ADA.subject, ADA.relation, ADA.object, search=search))
    with pytest.raises(Conflict, match="would find what is there already"):
        retry_edit(registry, edit.id, RetryRequest(hparams=hparams))
    assert retry_edit(registry, edit.id, RetryRequest(hparams={"num_steps": 31})).status is JobStatus.QUEUED
