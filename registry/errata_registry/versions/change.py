"""What an edit makes of a fact set: the new set, what is other in it, and what a user should look at twice.

The service says it when an edit is accepted, of the version that is active then; the worker decides it when the edit
is built, of the version that it is built on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from errata_client.records import ChangeKind, FactChange, FactName, StoredFact

from errata.errors import FactConflict, FactProblem, Place, TooManyFacts, UnknownFacts, pointer
from errata.facts import MAX_FACTS, Fact, FactSet, folded
from errata_registry.jobs.requests import EditRequest
from errata_registry.versions.facts import FactIndex, Origin, change_of, fact_of, name_of, stored_fact

MOST_SHOWN = 50
MOST_ALIKE_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FactSetChange:
    """A fact set, and how it differs from the one it was made from.

    Attributes:
        facts: the new set, in canonical order.
        changes: all that was added, changed and withdrawn.
        duplicates: groups of facts that differ only in case or spacing, each with one that came with the edit.
    """

    facts: FactIndex
    changes: tuple[FactChange, ...]
    duplicates: tuple[tuple[FactName, ...], ...]

    def counts(self) -> dict[str, Any]:
        """Return how many facts were `added`, `changed` and `retracted`."""
        return {kind.value: sum(change.change is kind for change in self.changes) for kind in ChangeKind}

    def as_shown(self) -> dict[str, object]:
        """Return the fields of an `Edit` that tell of it, the first `MOST_SHOWN` changes and groups of duplicates."""
        replaced = [change for change in self.changes if change.change is not ChangeKind.ADDED]
        return {
            **self.counts(),
            "changes": tuple(replaced[:MOST_SHOWN]),
            "duplicates": self.duplicates[:MOST_SHOWN],
        }


def change_facts(
    before: FactIndex, base: int, request: EditRequest, origin: Origin, *, refuse_conflicts: bool = False
) -> FactSetChange:
    """Put facts into a set and take others out of it. What stays, stays with the origin that it had.

    A fact that is there keeps its wordings and the prompts that measure it, unless it comes with others, and its search
    while its object stays. The facts about one subject have one search: what one of them comes with, or else what one
    of them has.

    Args:
        before: the facts of version `base`.

    Raises:
        UnknownFacts: a fact is to be withdrawn that the set does not hold.
        FactConflict: `refuse_conflicts`, and facts would be changed.
        TooManyFacts: the set would hold more than it may.
        InvalidFacts: the facts contradict one another.
    """
    _refuse_unknown(request, before, base)
    searches = {fact.subject: fact.search for fact in request.facts if fact.search}
    arriving = FactSet(_completed(fact, before, searches) for fact in request.facts)
    arrived = {fact.id: _stored(fact, before.get(fact.id), origin) for fact in arriving}
    withdrawn = {fact_id: None for fact_id in request.retract}
    found = [change_of(before.get(fact_id), after) for fact_id, after in {**arrived, **withdrawn}.items()]
    changes = tuple(change for change in found if change is not None)
    if refuse_conflicts:
        _refuse_conflicts(request, changes)
    gone = arrived.keys() | withdrawn.keys()
    entries = [(key, fact) for key, fact in zip(before.keys, before, strict=True) if fact.id not in gone]
    entries += [(fact.key, arrived[fact.id]) for fact in arriving]
    if len(entries) > MAX_FACTS:
        detail = f"at most {MAX_FACTS} facts in one set, and with these it would hold {len(entries)}"
        raise TooManyFacts([FactProblem(0, "subject", detail)])
    facts = FactIndex(_agreeing([fact for _, fact in sorted(entries, key=lambda entry: entry[0])], searches))
    return FactSetChange(facts, changes, _duplicates(before, arriving, arrived, withdrawn))


def _refuse_unknown(request: EditRequest, before: FactIndex, base: int) -> None:
    unknown = [(index, fact_id) for index, fact_id in enumerate(request.retract) if fact_id not in before]
    if unknown:
        detail = f"is not among the facts of version {base}"
        places = [Place(pointer("retract", index), f"{fact_id} {detail}") for index, fact_id in unknown]
        raise UnknownFacts([fact_id for _, fact_id in unknown], base, places)


def _refuse_conflicts(request: EditRequest, changes: Sequence[FactChange]) -> None:
    index_of = {fact.id: index for index, fact in enumerate(request.facts)}
    conflicts = [
        Place(
            pointer("facts", index_of[change.id], "object"),
            f"{change.subject!r}, {change.relation!r} is {change.before!r} and would become {change.after!r}",
        )
        for change in changes
        if change.change is ChangeKind.CHANGED
    ]
    if conflicts:
        raise FactConflict(conflicts)


def _completed(fact: Fact, before: FactIndex, searches: Mapping[str, Mapping[str, float]]) -> Fact:
    """Return the fact with what is known of it; `searches` are those that arrive, by subject."""
    old = before.get(fact.id)
    search = fact.search or searches.get(fact.subject, {})
    if old is None:
        return replace(fact, search=search)
    known = fact_of(old)
    return replace(
        fact,
        paraphrases=fact.paraphrases or known.paraphrases,
        neighbors=fact.neighbors or known.neighbors,
        search=search or (known.search if known.object == fact.object else {}),
        space=known.space if fact.space is None else fact.space,
        phrasings=fact.phrasings or known.phrasings,
        questions=fact.questions or known.questions,
    )


def _agreeing(facts: Sequence[StoredFact], arriving: Mapping[str, Mapping[str, float]]) -> list[StoredFact]:
    """Return the facts, those about one subject with one search."""
    searches: dict[str, dict[str, float]] = {fact.subject: fact.search for fact in reversed(facts) if fact.search}
    searches |= {subject: dict(search) for subject, search in arriving.items()}
    agreeing = []
    for fact in facts:
        search = searches.get(fact.subject, {})
        agreeing.append(fact if fact.search == search else fact.model_copy(update={"search": search}))
    return agreeing


def _stored(fact: Fact, old: StoredFact | None, origin: Origin) -> StoredFact:
    if old is None or old.object != fact.object:
        return stored_fact(fact, origin, old.object if old else None)
    kept = {"edit": old.edit, "by": old.by, "at": old.at, "replaced": old.replaced}
    return stored_fact(fact, origin).model_copy(update=kept)


def _duplicates(
    before: FactIndex, arriving: FactSet, arrived: Mapping[str, StoredFact], withdrawn: Mapping[str, None]
) -> tuple[tuple[FactName, ...], ...]:
    groups: dict[tuple[str, str], dict[str, FactName]] = {}
    for fact in arriving:
        group = groups.setdefault(folded(fact), {})
        stays = (one for one in before.alike(fact) if one.id not in withdrawn and one.id not in arrived)
        group.update({one.id: name_of(one) for one in stays})
        group[fact.id] = name_of(arrived[fact.id])
    return tuple(tuple(group.values())[-MOST_ALIKE_SHOWN:] for group in groups.values() if len(group) > 1)
