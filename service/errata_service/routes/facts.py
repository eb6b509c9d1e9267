"""Facts: looking for them in a version, what became of one, and withdrawing them."""

import re
from typing import Annotated

from errata_client.records import CheckedFacts, Edit, FactRecord, Page, StoredFact
from errata_registry.jobs.requests import FACT_ID, RetractRequest
from errata_registry.versions.facts import FactFilter, FactIndex
from fastapi import APIRouter, Depends, Query

from errata.errors import Place, UnknownFacts
from errata_service.bodies import BoundedRoute, takes_records
from errata_service.dependencies import AskedVersionDep, RegistryDep, ReplicaDep, may_edit, may_read
from errata_service.fact_checks import CheckRequest, check, check_request
from errata_service.pages import Limit, unknown_cursor
from errata_service.problems import ProblemError
from errata_service.routes.edits import accepted
from errata_service.routes.jobs import QueueingDep

router = APIRouter(route_class=BoundedRoute, tags=["facts"])


def _wanted(
    subject: Annotated[str | None, Query(description="Only facts about this subject.")] = None,
    relation: Annotated[str | None, Query(description="Only facts of this relation.")] = None,
    object: Annotated[str | None, Query(description="Only facts with this object.")] = None,
    edit: Annotated[str | None, Query(description="Only facts that got their object from this edit.")] = None,
    by: Annotated[str | None, Query(description="Only facts whose object was sent with the key of this name.")] = None,
    text: Annotated[str | None, Query(description="Only facts that hold this text, in any case.")] = None,
) -> FactFilter:
    return FactFilter(subject, relation, object, edit, by, text)


WantedFacts = Annotated[FactFilter, Depends(_wanted)]


def page_of_facts(facts: FactIndex, wanted: FactFilter, limit: int, after: str | None) -> Page[StoredFact]:
    """Return the wanted facts behind the one with the id `after`. Raises `ProblemError` where none has that id."""
    try:
        found, has_more = facts.select(wanted, limit, after)
    except KeyError:
        assert after is not None
        raise unknown_cursor(after) from None
    return Page(data=tuple(found), has_more=has_more, next=found[-1].id if has_more else None)


@router.get("/facts", summary="The facts of a version", **may_read(404, 409, 422, 503))
def list_facts(
    registry: RegistryDep,
    wanted: WantedFacts,
    version: AskedVersionDep,
    limit: Limit = 100,
    after: Annotated[str | None, Query(pattern=r"^\d{1,15}:fact_[0-9a-f]{16}$")] = None,
) -> Page[StoredFact]:
    """In canonical order. Subject, relation and object are compared as wholes; how they are spaced does not matter.

    A list is walked in the version that it was begun in, whatever is activated meanwhile: `next` names it.
    """
    begun_in, _, fact_id = after.partition(":") if after else ("", "", None)
    number = int(begun_in) if begun_in else version
    page = page_of_facts(registry.versions.facts(number), wanted, limit, fact_id)
    return page.model_copy(update={"next": f"{number}:{page.next}"}) if page.next else page


@router.get("/facts/{fact_id}", summary="One fact and its history", **may_read(404, 409, 422, 503))
def get_fact(fact_id: str, registry: RegistryDep, version: AskedVersionDep) -> FactRecord:
    """As it stands in the version, or, where that does not hold it, as it stood when a version last held it; with what
    became of it in all versions, newest first. 404 where no version ever held it."""
    held = registry.versions.facts(version).get(fact_id)
    fact = held or (registry.versions.last(fact_id) if re.fullmatch(FACT_ID, fact_id) else None)
    if fact is None:
        raise ProblemError(404, "unknown-fact", f"no version holds a fact {fact_id[:100]!r}, nor did one before")
    return FactRecord(**fact.model_dump(), held=held is not None, history=tuple(registry.versions.history(fact_id)))


@router.post("/facts/check", summary="Look at facts before they are sent", **may_read(404, 409, 413, 422, 503))
@takes_records
def check_facts(request: Annotated[CheckRequest, Depends(check_request)], registry: RegistryDep) -> CheckedFacts:
    """What is wrong with each record, how its prompt reads, and which object it would replace. Nothing is changed.

    A record is a fact, one of CounterFact, zsRE or EasyEdit, or a list of subject, relation and object. `fact` in the
    answer is what `POST /edits` takes.
    """
    number = registry.versions.number(request.version)
    return check(request.records, registry.versions.facts(number), number)


@router.post("/facts/retract", summary="Withdraw facts", status_code=202, **may_edit(404, 409, 413, 422, 429, 503))
def retract_facts(body: RetractRequest, replica: ReplicaDep, queueing: QueueingDep) -> Edit:
    """Queue an edit that takes facts out and leaves all others in place. The model answers then as it did before they
    were put in."""
    try:
        return accepted(body.as_edit(), replica, queueing)
    except UnknownFacts as error:  # an edit has its ids in another field
        error.places = tuple(Place(at.replace("/retract/", "/ids/"), detail) for at, detail in error.places)
        raise
