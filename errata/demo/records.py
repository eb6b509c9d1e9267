"""Counterfactual edits of the demo world: records in the form of CounterFact's, and others measured as zsRE's are.

A record asks the model to say a false object of the right kind, and names the prompts that show how far the
edit reaches: paraphrases should follow it, neighbours (other subjects with the same true object) should not.
"""

import random
from collections import defaultdict
from typing import Any

from errata.demo.world import World, WorldFact
from errata.evaluation import Record, case_of
from errata.facts import Fact, Neighbor

LEAST_NEIGHBORS = 3
MOST_NEIGHBORS = 10


def counterfactual_records(world: World, seed: int = 0) -> list[dict[str, Any]]:
    """Make one record for each fact that has neighbours, in an order drawn with the seed."""
    neighbors = _neighbors(world)
    editable = [fact for fact in world.facts if len(neighbors[fact]) >= LEAST_NEIGHBORS]
    random.Random(seed).shuffle(editable)
    objects = {relation.id: {fact.object for fact in world.facts_of(relation)} for relation in world.relations}
    return [
        _record(case_id, fact, neighbors[fact], objects[fact.relation.id], world, seed)
        for case_id, fact in enumerate(editable)
    ]


def question_records(world: World, seed: int = 0) -> list[Record]:
    """Make the same edits, to be measured as zsRE records: by token accuracies alone.

    Each has one paraphrase, in the phrasing held out for the fact, and one prompt of another relation about another
    subject.

    They are not in the published form, whose readers end the unrelated prompt with a "?": the demo model knows no
    questions.
    """
    questions = []
    for record in counterfactual_records(world, seed):
        rewrite = record["requested_rewrite"]
        draw = random.Random(f"{seed} {record['case_id']} unrelated")
        other = draw.choice([fact for fact in world.facts if fact.relation.id != rewrite["relation_id"]])
        fact = Fact(
            rewrite["subject"],
            rewrite["prompt"],
            rewrite["target_new"]["str"],
            paraphrases=(record["paraphrase_prompts"][0],),
            neighbors=(Neighbor(other.prompt(other.relation.edit_phrasing), other.object),),
        )
        questions.append(Record(fact, case_of(fact, case_id=record["case_id"])))
    return questions


def snippets(world: World) -> list[dict[str, Any]]:
    """Tell all that the world says of what has an object, in the form of `attribute_snippets.json`."""
    return [
        {"relation_id": relation, "target_id": target, "samples": [{"text": _told(fact)} for fact in facts]}
        for (relation, target), facts in _by_object(world).items()
    ]


def _told(fact: WorldFact) -> str:
    return " ".join(f"{fact.prompt(phrasing)} {fact.object}." for phrasing in fact.trained_phrasings)


def _by_object(world: World) -> dict[tuple[str, str], list[WorldFact]]:
    having: defaultdict[tuple[str, str], list[WorldFact]] = defaultdict(list)
    for fact in world.facts:
        having[fact.relation.id, fact.object].append(fact)
    return having


def _neighbors(world: World) -> dict[WorldFact, list[WorldFact]]:
    sharing = _by_object(world)
    return {fact: [other for other in sharing[fact.relation.id, fact.object] if other != fact] for fact in world.facts}


def _record(
    case_id: int, fact: WorldFact, neighbors: list[WorldFact], objects: set[str], world: World, seed: int
) -> dict[str, Any]:
    """Make the record of one fact. `objects` are those of its relation."""
    relation = fact.relation
    # Seeded by the fact, so that a record does not change when another fact is added or removed.
    draw = random.Random(f"{seed} {relation.id} {fact.subject}")
    new_object = draw.choice(sorted(objects - {fact.object}))
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
