"""Counterfactual edits of the demo world that MEND's network learns from.

The first records of `counterfactual_records` are held out, since they are measured on: none of their facts occurs here,
neither as an edit nor as a neighbour.
"""

import random

from errata.demo.records import counterfactual_records
from errata.demo.world import World, WorldFact
from errata.facts import Fact, Neighbor

HELD_OUT_RECORDS = 1_100  # the thousand that figures are reported on, and the hundred that settings are chosen on
OBJECTS_OF_A_FACT = 8


def training_facts(world: World, seed: int = 0) -> list[Fact]:
    """Return edits of the facts that are not held out, each with several false objects in turn.

    Paraphrases are all phrasings but the edit phrasing. Neighbours are facts of the same relation, in any phrasing:
    those with the same object where there are any.
    """
    rewrites = [record["requested_rewrite"] for record in counterfactual_records(world)[HELD_OUT_RECORDS:]]
    known = {(fact.subject, fact.relation.id): fact for fact in world.facts}
    facts = [known[rewrite["subject"], rewrite["relation_id"]] for rewrite in rewrites]
    return [edit for fact in facts for edit in _edits(fact, facts, world, seed)]


def _edits(fact: WorldFact, all_facts: list[WorldFact], world: World, seed: int) -> list[Fact]:
    relation = fact.relation
    draw = random.Random(f"{seed} {relation.id} {fact.subject}")
    objects = sorted({other.object for other in world.facts_of(relation)} - {fact.object})
    of_relation = [other for other in all_facts if other.relation == relation and other != fact]
    alike = [other for other in of_relation if other.object == fact.object] or of_relation
    return [
        Fact(
            fact.subject,
            relation.edit_phrasing,
            new_object,
            tuple(fact.prompt(phrasing) for phrasing in relation.phrasings[1:]),
            tuple(
                Neighbor(other.prompt(phrasing), other.object)
                for other in draw.sample(alike, min(OBJECTS_OF_A_FACT, len(alike)))
                for phrasing in (relation.edit_phrasing, draw.choice(relation.phrasings[1:]))
            ),
        )
        for new_object in draw.sample(objects, min(OBJECTS_OF_A_FACT, len(objects)))
    ]
