"""The facts of the active version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from errata.facts import Fact
from errata.registry.records import StoredFact
from service.dependencies import RegistryDep, may_read
from service.pages import Limit, Page, page_of
from service.problems import ProblemError, problem_responses

router = APIRouter(tags=["facts"], dependencies=[may_read], responses=problem_responses(401, 403, 409, 422, 503))


@router.get("/facts", summary="The active version's facts")
def list_facts(
    registry: RegistryDep,
    subject: Annotated[str | None, Query(description="Only facts about this subject.")] = None,
    relation: Annotated[str | None, Query(description="Only facts of this relation.")] = None,
    limit: Limit = 100,
    after: str | None = None,
) -> Page[StoredFact]:
    """In canonical order. Subject and relation are compared as wholes; how they are spaced does not matter."""
    asked_subject, asked_relation = Fact(subject or "", relation or "", "").key
    wanted = []
    for fact in registry.facts(registry.active()):
        fact_subject, fact_relation = Fact(fact.subject, fact.relation, fact.object).key
        if (subject is None or fact_subject == asked_subject) and (relation is None or fact_relation == asked_relation):
            wanted.append(fact)
    return page_of(wanted, lambda fact: fact.id, limit, after)


@router.get("/facts/{fact_id}", summary="One fact of the active version", responses=problem_responses(404))
def get_fact(fact_id: str, registry: RegistryDep) -> StoredFact:
    """404 where the active version does not hold it."""
    active = registry.active()
    for fact in registry.facts(active):
        if fact.id == fact_id:
            return fact
    raise ProblemError(404, "unknown-fact", f"version {active}, which is active, holds no fact {fact_id}")
