"""CounterFact and zsRE records as facts and cases, and what is said of bad ones."""

import copy
from typing import Any

import pytest
from errata_client.dataset_formats import facts_of_records

from errata.errors import FactProblem, InvalidFacts
from errata.evaluation import Case, read_records, reference_texts
from errata.facts import Fact, Neighbor

COUNTERFACT: dict[str, Any] = {
    "case_id": 17,
    "pararel_idx": 4,
    "requested_rewrite": {
        "prompt": "The mother tongue of {} is",
        "relation_id": "P103",
        "subject": "Danielle Darrieux",
        "target_new": {"str": "English", "id": "Q1860"},
        "target_true": {"str": "French", "id": "Q150"},
    },
    "paraphrase_prompts": ["Shayna does this. Danielle Darrieux, a native"],
    "neighborhood_prompts": ["Louis Jules Trochu spoke the language"],
    "attribute_prompts": ["J.R.R. Tolkien is a native speaker of"],
    "generation_prompts": ["Danielle Darrieux's mother tongue is", "Where Danielle Darrieux is from"],
}
ZSRE: dict[str, Any] = {
    "subject": "Watts Humphrey",
    "src": "What university did Watts Humphrey attend?",
    "rephrase": "What university did Watts Humphrey take part in?",
    "alt": "University of Michigan",
    "answers": ["Trinity College", "Trinity"],
    "loc": "nq question: who played desmond doss father in hacksaw ridge",
    "loc_ans": "Hugo Weaving",
}
SNIPPETS: list[dict[str, Any]] = [
    {"relation_id": "P103", "target_id": "Q1860", "samples": [{"name": "A", "text": "She wrote in English."}]},
    {"relation_id": "P103", "target_id": "Q1860", "samples": [{"name": "B", "text": "He grew up in Leeds."}]},
    {"relation_id": "P103", "target_id": "Q150", "samples": [{"name": "C", "text": "She wrote in French."}]},
]


def test_a_counterfact_record_is_a_fact_and_a_case() -> None:
    (record,) = read_records([COUNTERFACT], references=reference_texts(SNIPPETS))
    assert record.fact == Fact("Danielle Darrieux", "The mother tongue of {} is", "English")
    assert record.case == Case(
        prompt="The mother tongue of Danielle Darrieux is",
        new="English",
        old="French",
        paraphrases=("Shayna does this. Danielle Darrieux, a native",),
        neighbors=(Neighbor("Louis Jules Trochu spoke the language", "French"),),
        generation_prompts=("Danielle Darrieux's mother tongue is", "Where Danielle Darrieux is from"),
        references=("She wrote in English.", "He grew up in Leeds."),
        case_id=17,
        subject="Danielle Darrieux",
        relation="P103",
    )


def test_a_zsre_record_has_no_old_object_and_either_of_two_new_ones() -> None:
    (record,) = read_records([ZSRE])
    assert record.fact == Fact("Watts Humphrey", "What university did {} attend?", "University of Michigan")
    assert record.case == Case(
        prompt="What university did Watts Humphrey attend?",
        new="University of Michigan",
        old=None,
        paraphrases=("What university did Watts Humphrey take part in?",),
        neighbors=(Neighbor(f"{ZSRE['loc']}?", "Hugo Weaving"),),
        subject="Watts Humphrey",
    )
    (as_in_the_tables,) = read_records([ZSRE], zsre_object="answers")
    assert as_in_the_tables.fact.object == as_in_the_tables.case.new == "Trinity College"


def test_the_client_reads_the_same_facts() -> None:
    for ours, theirs in zip(read_records([COUNTERFACT, ZSRE]), facts_of_records([COUNTERFACT, ZSRE]), strict=True):
        fact = ours.fact
        assert (fact.subject, fact.relation, fact.object) == (theirs.subject, theirs.relation, theirs.object)
        assert fact.paraphrases == theirs.paraphrases
        assert [(n.prompt, n.object) for n in fact.neighbors] == [(n.prompt, n.object) for n in theirs.neighbors]


def test_all_that_is_wrong_is_named_by_record_and_field() -> None:
    wrong = copy.deepcopy(COUNTERFACT)
    wrong["requested_rewrite"] |= {"subject": "Danielle {}", "target_new": {"str": 5}, "target_true": None}
    wrong["paraphrase_prompts"] = ["  "]
    wrong["neighborhood_prompts"] = "one"
    twice = {**ZSRE, "src": "Is Watts Humphrey the Watts Humphrey?", "answers": []}
    del twice["loc"]
    with pytest.raises(InvalidFacts) as caught:
        read_records([COUNTERFACT, wrong, twice, {"prompt": "x"}, "text"], zsre_object="answers")
    assert caught.value.problems == (
        FactProblem(1, "requested_rewrite.target_new.str", "is a number, not text"),
        FactProblem(1, "requested_rewrite.target_true", "is null, not an object"),
        FactProblem(1, "neighborhood_prompts", "is a string, not a list"),
        FactProblem(1, "paraphrase_prompts[0]", "is blank"),
        FactProblem(
            2, "src", "'Is Watts Humphrey the Watts Humphrey?' holds its subject 'Watts Humphrey' 2 times, not once"
        ),
        FactProblem(2, "answers", "is empty"),
        FactProblem(2, "loc", "is missing"),
        FactProblem(3, "record", "has neither requested_rewrite, as CounterFact, nor src, as zsRE"),
        FactProblem(4, "record", "is a string, not an object"),
    )


def test_a_record_that_makes_no_good_fact_is_named_too() -> None:
    long = copy.deepcopy(COUNTERFACT)
    long["requested_rewrite"]["target_new"]["str"] = "x" * 501
    with pytest.raises(InvalidFacts) as caught:
        read_records([ZSRE, long])
    assert caught.value.problems == (FactProblem(1, "object", "has 501 characters; at most 500 are taken"),)


def test_bad_reference_texts_are_named_and_missing_ids_where_they_are_needed() -> None:
    with pytest.raises(InvalidFacts) as caught:
        reference_texts([SNIPPETS[0], {"relation_id": "P1", "samples": [{"name": "A"}]}])
    assert caught.value.problems == (
        FactProblem(1, "target_id", "is missing"),
        FactProblem(1, "samples[0].text", "is null, not text"),
    )
    without = copy.deepcopy(COUNTERFACT)
    del without["requested_rewrite"]["relation_id"]
    read_records([without])
    with pytest.raises(InvalidFacts, match=r"requested_rewrite\.relation_id: is missing"):
        read_records([without], references=reference_texts(SNIPPETS))
