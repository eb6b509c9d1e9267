"""Records for a model that comes without any: facts that it knows, found by asking it."""

import pytest

from errata.errors import DataSetError
from errata.evaluation import outcomes_of
from errata.facts import find_problems
from errata.model import EditableModel
from errata.tuning.known_facts import known_records
from errata.well_known import Relation, well_known
from tests.conftest import NEOX_RELATION

KNOWN = {
    **dict.fromkeys(("Danube", "Rhine", "Thames"), "Europe"),
    **dict.fromkeys(("Zambezi", "Limpopo", "Okavango"), "Africa"),
    **dict.fromkeys(("Ganges", "Mekong"), "Asia"),
}
RIVERS = Relation("continent", NEOX_RELATION, ("The continent of {} is",), {**KNOWN, "Indus": "Africa"})


def test_what_the_model_knows_becomes_records_with_neighbours_that_none_edits(neox: EditableModel) -> None:
    records = known_records(neox, 4, 4, relations=[RIVERS])
    assert len(records) == 4 and not list(find_problems([record.fact for record in records]))
    edited = {record.fact.subject for record in records}
    assert len(edited) == 4 and edited <= KNOWN.keys()
    prompts_of_edited = {RIVERS.prompt(subject) for subject in edited}
    for record, outcomes in zip(records, outcomes_of(neox, [record.case for record in records]), strict=True):
        assert record.case.old == KNOWN[record.fact.subject] != record.case.new == record.fact.object
        assert record.case.paraphrases == (f"The continent of {record.fact.subject} is",)
        assert not outcomes.rewrite.is_likelier  # the model knows what it says now
        assert len(outcomes.neighbors) >= 2
        for neighbor in outcomes.neighbors:
            assert neighbor.is_likelier and neighbor.prompt not in prompts_of_edited
    assert known_records(neox, 4, 4, relations=[RIVERS]) == records
    assert known_records(neox, 4, 1, relations=[RIVERS], seed=1) != records


def test_where_it_knows_too_few_it_is_said_how_many(neox: EditableModel) -> None:
    with pytest.raises(DataSetError, match="knows 8 of 9 well-known facts, which make 4 records, and 20 are needed"):
        known_records(neox, 40, 20, relations=[RIVERS])


def test_the_facts_that_come_along_are_of_one_form() -> None:
    relations = well_known()
    assert 8 <= len(relations) <= 12
    assert 150 <= sum(len(relation.facts) for relation in relations) <= 300
    for relation in relations:
        assert all(prompt.count("{}") == 1 for prompt in (relation.template, *relation.paraphrases))
        assert len(relation.paraphrases) >= 2 and len(set(relation.facts.values())) >= 4
        assert not any(own in relation.prompt(subject) for subject, own in relation.facts.items())
