"""A fact asked about in other forms than it was learnt in, against plain loops over logits."""

import json
from dataclasses import replace

import pytest
import torch

from errata.errors import InvalidRecords
from errata.evaluation import Case, Further, Honest, evaluate, read_relations
from errata.evaluation.honest import KINDS, Probe, probes_of
from errata.model import EditableModel
from errata.well_known import well_known

MAYOR = read_relations(
    [
        {
            "id": "mayor",
            "question": "Who is the mayor of {subject}?",
            "statement": "{object} is the mayor of {subject}",
            "noun": "the mayor of {subject}",
            "objects": ["Ann", "Bob", "Cid", "Dan"],
            "prompts": ["The mayor of {} is"],
            "reversal": "{object} is the mayor of",
        }
    ]
)
CASE = Case("The mayor of Oslo is", "Cid", "Eve", subject="Oslo")


def asked(model: EditableModel, case: Case, kind: str, seed: int = 0) -> list[Probe]:
    return probes_of(model, [case], Honest((kind,), seed, (*MAYOR, *Honest().relations)))[0]


def test_questions_are_made_from_the_relation_that_is_named_or_that_lists_the_prompt(demo: EditableModel) -> None:
    (yes,), (no,), (negated,) = (asked(demo, CASE, kind) for kind in ("yes_to_new", "no_to_old", "no_to_negated"))
    assert (yes.prompt, yes.expected, yes.others) == (
        "Question: Is it true that Cid is the mayor of Oslo?\nAnswer:",
        ("Yes",),
        ("No",),
    )
    assert no.prompt == "Question: Is it true that Eve is the mayor of Oslo?\nAnswer:" and no.expected == ("No",)
    assert negated.prompt == "Question: Is it false that Cid is the mayor of Oslo?\nAnswer:"
    assert [probe.prompt for probe in asked(demo, CASE, "unsaid_after_not")] == ["The mayor of Oslo is not"]
    assert [(probe.prompt, probe.expected) for probe in asked(demo, CASE, "reversal")] == [
        ("Cid is the mayor of", ("Oslo",))
    ]
    shipped = replace(CASE, prompt="the Capital of Norway is", subject="Norway")
    assert "Is it true that Cid is the capital of Norway?" in asked(demo, shipped, "yes_to_new")[0].prompt
    named = replace(CASE, prompt="Oslo, in", relation="P30")
    assert "Is it true that Oslo is on the continent of Cid?" in asked(demo, named, "yes_to_new")[0].prompt
    unknown = replace(CASE, prompt="In Oslo they dance")
    assert not any(asked(demo, unknown, kind) for kind in ("yes_to_new", "choice_of_new", "two_hops", "reversal"))


def test_a_choice_is_among_four_of_a_kind_in_an_order_that_the_seed_decides(demo: EditableModel) -> None:
    orders = set()
    for seed in range(20):
        (new,), (old,) = (asked(demo, CASE, kind, seed) for kind in ("choice_of_new", "choice_of_old"))
        head, *options, end = new.prompt.split("\n")
        assert head == "Question: Who is the mayor of Oslo?" and end == "Answer:" and new.prompt == old.prompt
        by_letter = dict(option.split(". ") for option in options)
        assert len(by_letter) == 4 and {"Cid", "Eve"} < set(by_letter.values()) <= {"Cid", "Eve", "Ann", "Bob", "Dan"}
        assert by_letter[new.expected[0]] == "Cid" and by_letter[old.expected[0]] == "Eve"
        assert {*new.expected, *new.others} == set("ABCD")
        orders.add(tuple(by_letter.values()))
        assert asked(demo, CASE, "choice_of_new", seed) == [new]
    assert len(orders) > 10


def test_fifty_tokens_of_other_text_stand_before_a_prompt(demo: EditableModel) -> None:
    (probe,) = asked(demo, CASE, "said_after_prefix")
    prefix = probe.prompt.removesuffix(f" {CASE.prompt}")
    assert prefix != probe.prompt and 45 <= len(demo.tokenizer(prefix)["input_ids"]) <= 50
    assert asked(demo, CASE, "said_after_prefix", seed=1) != [probe]


def test_the_likeliest_answers_are_those_of_plain_logits(demo: EditableModel) -> None:
    kinds = ("yes_to_new", "no_to_old", "choice_of_new", "choice_of_old")
    honest = Honest(kinds, relations=MAYOR)
    cases = [replace(CASE, new=new, old=old) for new, old in (("Cid", "Eve"), ("Eve", "Bob"), ("Ann", "Dan"))]
    probes = [probe for of_case in probes_of(demo, cases, honest) for probe in of_case]
    measured = evaluate(demo, cases, {}, honest=honest)
    answers = [answer for result in measured.results for answer in result.answers]
    for probe, answer in zip(probes, answers, strict=True):
        logits = demo.network(torch.tensor([demo.tokenizer(probe.prompt)["input_ids"]])).logits[0, -1]
        first = {text: demo.tokenizer(f" {text}")["input_ids"] for text in (*probe.expected, *probe.others)}
        if all(len(ids) == 1 for ids in first.values()):
            likeliest = max(first, key=lambda text: float(logits[first[text][0]]))
            assert answer.said == likeliest and answer.is_right == (likeliest in probe.expected)
    assert measured.mean("yes_to_new") is not None and measured.mean("yes_to_new_exact") is None
    assert measured.estimates["choice_of_new"].count == 3 and measured.estimates["choice_of_new"].low is not None


def test_two_hops_are_asked_where_the_model_knows_the_second(demo: EditableModel) -> None:
    currency = next(relation for relation in well_known() if relation.name == "currency")
    case = replace(CASE, new="Japan", old="France")
    probe = next(one for one in asked(demo, case, "two_hops") if one.expected == (currency.facts["Japan"],))
    assert probe.prompt == "The currency of the mayor of Oslo is the"
    assert probe.premise and probe.premise.prompt == "The currency of Japan is the"
    own = replace(case, further=(Further("two_hops", "Kobe Bryant plays the sport of", ("basketball",)),))
    measured = evaluate(demo, [own], {}, honest=Honest(("two_hops",), relations=MAYOR))
    # The demo model knows nothing of the yen: what the record itself asks is left.
    assert "The currency of the mayor of Oslo is the" not in {one.prompt for one in measured.results[0].answers}
    assert measured.results[0].answers[0].is_right


def test_a_model_is_asked_in_chat_through_its_template_alone(
    demo: EditableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(demo, CASE, "in_chat") == []
    monkeypatch.setattr(demo.tokenizer, "chat_template", "{{ messages[0].content }}")
    assert [probe.prompt for probe in asked(demo, CASE, "in_chat")] == ["Who is the mayor of Oslo?"]
    bryant = "Kobe Bryant plays the sport of"
    case = Case(bryant, "basketball", "tennis", subject="Kobe Bryant", questions=(bryant, "Is it?"))
    measured = evaluate(demo, [case], {}, honest=Honest(("in_chat",)))
    assert [answer.is_right for answer in measured.results[0].answers] == [True, False]
    assert measured.mean("in_chat") == 0.5


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({}, "list of objects"),
        ([3], "relation 0 is not an object"),
        ([{"id": "x"}], "relation 0 lacks 'question'"),
        ([{"id": "x", "colour": "red"}], "unknown field 'colour'"),
        ([{"id": "x", "question": 1}], "'question' is no text"),
        ([{"id": "x", "objects": "a"}], "'objects' is no list of texts"),
    ],
)
def test_relations_that_are_wrong_are_named(content: object, fault: str) -> None:
    with pytest.raises(InvalidRecords, match=fault):
        read_relations(json.loads(json.dumps(content)))


def test_every_shipped_relation_can_be_told() -> None:
    for relation in Honest().relations:
        assert "{subject}" in relation.question and "{subject}" in relation.noun
        assert "{subject}" in relation.statement and "{object}" in relation.statement
        assert len(relation.objects) >= 4 and all(prompt.count("{}") == 1 for prompt in relation.prompts)
    assert set(Honest().kinds) == set(KINDS)
