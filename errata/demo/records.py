"""Counterfactual edits of the demo world, in the form of CounterFact's records.

A record asks the model to say a false object of the right kind, and names the prompts that show how far the
edit reaches: paraphrases should follow it, neighbours (other subjects with the same true object) should not.
"""

import random
from collections import defaultdict
from typing import Any

from errata.demo.world import World, WorldFact

LEAST_NEIGHBORS = 3
MOST_NEIGHBORS = 10


def counterfactual_records(world: World, seed: int = 0) -> list[dict[str, Any]]:
    """One record for each fact that has neighbours, in an order that the seed decides."""
    neighbors = _neighbors(world)
    editable = [fact for fact in world.facts if len(neighbors[fact]) >= LEAST_NEIGHBORS]
    random.Random(seed).shuffle(editable)
    return [_record(case_id, fact, neighbors[fact], world, seed) for case_id, fact in enumerate(editable)]


def _neighbors(world: World) -> dict[WorldFact, list[WorldFact]]:
    sharing: defaultdict[tuple[str, str], list[WorldFact]] = defaultdict(list)
    for fact in world.facts:
        sharing[fact.relation.id, fact.object].append(fact)
    return {fact: [other for other in sharing[fact.relation.id, fact.object] if other != fact] for fact in world.facts}


def _record(case_id: int, fact: WorldFact, neighbors: list[WorldFact], world: World, seed: int) -> dict[str, Any]:
    relation = fact.relation
    # Seeded by the fact, so that a record does not change when another fact is added or removed.
    draw = random.Random(f"{seed} {relation.id} {fact.subject}")
    new_object = draw.choice(sorted({other.object for other in world.facts_of(relation)} - {fact.object}))
    paraphrase = draw.choice(fact.trained_phrasings[1:])
    chosen = draw.sample(neighbors, min(MOST_NEIGHBORS, len(neighbors)))
    return {
        "case_id": case_id,
        "requested_rewrite": {
            "prompt": relation.edit_phrasing,
            "relation_id": relation.id,
            "subject": fact.subject,
            "target_true": {"str": fact.object, "id": fact.object},
            "target_new": {"str": new_object, "id": new_object},
        },
        "paraphrase_prompts": [
            fact.prompt(fact.held_out_phrasing),
            f"{draw.choice(world.unrelated)} {fact.prompt(paraphrase)}",
        ],
        "neighborhood_prompts": [other.prompt(relation.edit_phrasing) for other in chosen],
        "attribute_prompts": [],
        "generation_prompts": [fact.prompt(phrasing) for phrasing in relation.phrasings[1:]],
    }
