"""Facts as versions store them, from the library's facts and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from errata_client.records import FactName, StoredFact, StoredNeighbor

from errata.facts import Fact, Neighbor


@dataclass(frozen=True, slots=True)
class Origin:
    """The edit that facts come from, who sent it, and when."""

    edit: str
    by: str | None
    at: datetime


def stored_fact(fact: Fact, origin: Origin, replaced: str | None = None) -> StoredFact:
    """Return the stored form of a fact that an edit gave its object, in place of the object `replaced`."""
    return StoredFact(
        id=fact.id,
        subject=fact.subject,
        relation=fact.relation,
        object=fact.object,
        paraphrases=fact.paraphrases,
        neighbors=tuple(StoredNeighbor(prompt=n.prompt, object=n.object) for n in fact.neighbors),
        search=dict(fact.search),
        edit=origin.edit,
        by=origin.by,
        at=origin.at,
        replaced=replaced,
    )


def fact_of(stored: StoredFact) -> Fact:
    """Return the library's form of a stored fact."""
    neighbors = tuple(Neighbor(neighbor.prompt, neighbor.object) for neighbor in stored.neighbors)
    return Fact(stored.subject, stored.relation, stored.object, stored.paraphrases, neighbors, stored.search)


def name_of(stored: StoredFact) -> FactName:
    """Return a stored fact by its parts alone."""
    return FactName(id=stored.id, subject=stored.subject, relation=stored.relation, object=stored.object)
