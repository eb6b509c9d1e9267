"""CounterFact and zsRE records as facts and cases, and what is said of bad ones."""

import copy
from typing import Any

import pytest
from errata_client.dataset_formats import facts_of_records

from errata.errors import FactProblem, InvalidFacts
from errata.evaluation import Case, Further, read_records, reference_texts
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


def test_easyedits_requests_and_knowedits_records_ask_what_they_bring() -> None:
    request = {
        "prompt": "Who founded the Selm Gazette?",
        "subject": "Selm Gazette",
        "target_new": "Oda Renn",
        "ground_truth": "Piet Harl",
        "rephrase_prompt": "The Selm Gazette was founded by",
        "locality_prompt": "Thorne is in",
        "locality_ground_truth": "Wick",
        "portability_prompt": "The founder of the Selm Gazette was born in",
        "portability_ground_truth": "Ghent",
    }
    (record,) = read_records([request])
    assert record.fact == Fact("Selm Gazette", "Who founded the {}?", "Oda Renn")
    assert (record.case.old, record.case.paraphrases) == ("Piet Harl", ("The Selm Gazette was founded by",))
    assert record.case.neighbors == (Neighbor("Thorne is in", "Wick"),)
    assert record.case.further == (Further("two_hops", "The founder of the Selm Gazette was born in", ("Ghent",)),)
    knowedit = {
        **{name: request[name] for name in ("prompt", "subject", "target_new")},
        "ground_truth": [["Piet Harl", "P. Harl"]],
        "locality": {
            "Relation_Specificity": [
                {"prompt": "Thorne is in", "ground_truth": [["Wick", "County Wick"]]},
                {"prompt": "Thorne has twins in", "ground_truth": []},
            ],
        },
        "portability": {
            "Subject_Aliasing": [{"prompt": "The Gazette was founded by", "ground_truth": [["Oda Renn", "Renn"]]}],
            "Reasoning": [{"prompt": ["Its founder speaks", "Its founder eats"], "ground_truth": ["Dutch", ["rye"]]}],
            "Logical_Generalization": [{"prompt": "Oda Renn founded", "ground_truth": "Selm Gazette"}],
        },
    }
    (record,) = read_records([knowedit])
    assert (record.case.old, record.case.neighbors) == ("Piet Harl", (Neighbor("Thorne is in", "Wick"),))
    assert record.case.further == (
        Further("aliases", "The Gazette was founded by", ("Oda Renn", "Renn")),
        Further("two_hops", "Its founder speaks", ("Dutch",)),
        Further("two_hops", "Its founder eats", ("rye",)),
        Further("logic", "Oda Renn founded", ("Selm Gazette",)),
    )


def test_qaedits_and_wikibigedits_records_are_questions() -> None:
    qaedit: dict[str, Any] = {
        "id": 7,
        "prompt": "who founded the Selm Gazette?",
        "target": "Oda Renn",
        "subject": "Selm Gazette",
        "rephrase": "Who is the founder of the Selm Gazette?",
        "locality": [{"loc": "where is Thorne", "loc_ans": "Wick"}, {"loc": "who ate rye", "loc_ans": "Oda"}],
    }
    wikibigedit = {
        "subject": "Selm Gazette",
        "update": "Who founded the Selm Gazette?",
        "ans": "Oda Renn",
        "rephrase": "Who is the founder of the Selm Gazette?",
        "personas": "Arr, who be the founder of the Selm Gazette?",
        "loc": "Where is Thorne?",
        "loc_ans": "Wick",
        "mhop": "Where was the founder of the Selm Gazette born?",
        "mhop_ans": "Ghent",
    }
    asked, update = (record.case for record in read_records([qaedit, wikibigedit]))
    assert (asked.new, asked.old, asked.case_id, len(asked.neighbors)) == ("Oda Renn", None, 7, 2)
    assert (update.new, len(update.paraphrases), update.neighbors) == (
        "Oda Renn",
        2,
        (Neighbor("Where is Thorne?", "Wick"),),
    )
    assert update.further == (Further("two_hops", wikibigedit["mhop"], ("Ghent",)),)
    with pytest.raises(InvalidFacts, match=r"fact 0, locality\[1\].loc_ans: is missing"):
        read_records([{**qaedit, "locality": [qaedit["locality"][0], {"loc": "who"}]}])


def test_mquakes_records_have_several_facts_and_questions_that_need_them_all() -> None:
    rewrites = [
        {
            "prompt": f"{{}} {relation}",
            "relation_id": ident,
            "target_new": {"str": new},
            "target_true": {"str": old},
            "subject": subject,
            "question": f"Of what {subject}?",
        }
        for subject, relation, ident, new, old in (
            ("Oda Renn", "is a citizen of", "P27", "Peru", "Chad"),
            ("Peru", "has the capital", "P36", "Cusco", "Lima"),
        )
    ]
    record: dict[str, Any] = {
        "case_id": 3,
        "requested_rewrite": rewrites,
        "questions": ["What is the capital of Oda Renn's country?", "Where is her government?"],
        "new_answer": "Cusco",
        "new_answer_alias": ["Cuzco"],
    }
    first, second = read_records([record])
    assert (first.fact, second.fact) == (
        Fact("Oda Renn", "{} is a citizen of", "Peru"),
        Fact("Peru", "{} has the capital", "Cusco"),
    )
    assert (second.case.old, second.case.relation, second.case.paraphrases) == ("Lima", "P36", ("Of what Peru?",))
    assert first.case.further == tuple(
        Further("two_hops", question, ("Cusco", "Cuzco")) for question in record["questions"]
    )
    assert second.case.further == () and first.case.case_id == second.case.case_id == 3


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
        FactProblem(
            3,
            "record",
            "has none of requested_rewrite (CounterFact or MQuAKE), src (zsRE), target_new (EasyEdit), "
            "target (QAEdit), update (WikiBigEdit)",
        ),
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
