"""Records for a model that comes without any: facts that it knows, found by asking it.

A well-known fact is known if the model finds its
object likelier after its prompt than other objects of the relation. One of those is what is edited in. Neighbours are
known facts about other subjects, none of which is edited in any record.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from errata.errors import DataSetError
from errata.evaluation import Record, case_of
from errata.facts import PLACEHOLDER, Fact, Neighbor
from errata.model import EditableModel
from errata.model.likelihood import likelihoods
from errata.well_known import Relation, well_known

NUM_OTHERS = 5  # objects of the relation that a fact's own is compared with
NUM_NEIGHBORS = 5
LEAST_NEIGHBORS = 2
# To ask a fact takes about as long as to measure one. A model knows two thirds of them, and half of these are edited.
LEAST_ASKED = 10  # of each relation
ASKED_PER_RECORD = 3


def known_records(
    model: EditableModel,
    most: int,
    least: int,
    *,
    seed: int = 0,
    relations: Sequence[Relation] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Record]:
    """Return up to `most` records of facts that the model knows, with as many of each relation as can be.

    Args:
        least: fewer are of no use.
        seed: of which facts are edited, and what to.
        relations: None for `well_known`.
        on_progress: called with (facts asked, facts in all).

    Raises:
        DataSetError: the model knows too few; says how many.
    """
    draw = random.Random(seed)
    relations = well_known() if relations is None else relations
    num_asked = max(LEAST_ASKED, math.ceil(ASKED_PER_RECORD * most / len(relations)))
    relations = [_some_of(relation, num_asked, draw) for relation in relations]
    known = _known_subjects(model, relations, draw, on_progress)
    edited = _edited(relations, known, most, draw)
    found = [
        _record(relation, subject, known[relation.name] - edited.keys(), draw) for subject, relation in edited.items()
    ]
    records = [record for record in found if len(record.case.neighbors) >= LEAST_NEIGHBORS]
    if len(records) < least:
        num_known, num_asked = sum(map(len, known.values())), sum(len(relation.facts) for relation in relations)
        raise DataSetError(
            f"the model knows {num_known} of {num_asked} well-known facts, which make {len(records)} records, and "
            f"{least} are needed: give a file of records, in CounterFact's form, of what it knows (errata tune FILE)"
        )
    return records


def _some_of(relation: Relation, number: int, draw: random.Random) -> Relation:
    if len(relation.facts) <= number:
        return relation
    return replace(relation, facts=dict(draw.sample(list(relation.facts.items()), number)))


def _known_subjects(
    model: EditableModel, relations: Sequence[Relation], draw: random.Random, on_progress: Callable[[int, int], None]
) -> dict[str, set[str]]:
    """Return the subjects of each relation's facts that the model knows."""
    known: dict[str, set[str]] = {}
    asked, total = 0, sum(len(relation.facts) for relation in relations)
    for relation in relations:
        on_progress(asked, total)
        objects = sorted(set(relation.facts.values()))
        pairs: list[tuple[str, str]] = []  # of each subject, its own object first
        starts: dict[str, int] = {}
        for subject, own in relation.facts.items():
            starts[subject] = len(pairs)
            others = [one for one in objects if one != own]
            contestants = [own, *draw.sample(others, min(NUM_OTHERS, len(others)))]
            pairs += [(relation.prompt(subject), contestant) for contestant in contestants]
        nll = [one.nll for one in likelihoods(model, pairs)]
        stops = [*list(starts.values())[1:], len(pairs)]
        known[relation.name] = {
            subject
            for (subject, start), stop in zip(starts.items(), stops, strict=True)
            if all(nll[start] < other for other in nll[start + 1 : stop])
        }
        asked += len(relation.facts)
    on_progress(asked, total)
    return known


def _edited(
    relations: Sequence[Relation], known: dict[str, set[str]], most: int, draw: random.Random
) -> dict[str, Relation]:
    """Return the subjects to edit, each once, by turns of each relation; half of the known ones stay neighbours."""
    waiting = []
    for relation in relations:
        subjects = sorted(known[relation.name])
        waiting.append((relation, draw.sample(subjects, len(subjects) // 2)))
    edited: dict[str, Relation] = {}
    while len(edited) < most and any(left for _, left in waiting):
        for relation, left in waiting:
            if left and len(edited) < most:
                edited.setdefault(left.pop(), relation)
    return {subject: edited[subject] for subject in draw.sample(list(edited), len(edited))}


def _record(relation: Relation, subject: str, others: set[str], draw: random.Random) -> Record:
    """Make a record of a known fact; `others` are known subjects of its relation that no record edits."""
    old = relation.facts[subject]
    new = draw.choice(sorted({one for one in relation.facts.values() if one != old}))
    # Those with the same object come first: an edit reaches them most easily.
    shuffled = draw.sample(sorted(others), len(others))
    by_nearness = sorted(shuffled, key=lambda other: relation.facts[other] != old)
    neighbors = [
        Neighbor(relation.prompt(other), own) for other in by_nearness if (own := relation.facts[other]) != new
    ]
    paraphrases = tuple(template.replace(PLACEHOLDER, subject) for template in relation.paraphrases)
    fact = Fact(subject, relation.template, new, paraphrases, tuple(neighbors[:NUM_NEIGHBORS]))
    return Record(fact, case_of(fact, old=old, case_id=f"{relation.name}: {subject}"))
