"""Facts before the prompts of the unedited model."""

import pytest

from errata.evaluation import FREELY, Case, Honest, InContext, case_of, evaluate
from errata.facts import Fact, Neighbor
from errata.model import EditableModel

FACTS = (
    Fact("York", "is the capital of", "Kent"),
    Fact("New York City", "is the capital of", "Peru"),
    Fact("New York City", "was founded in", "1950."),
    Fact("Who", "{} wrote it?", "Anna"),
)
CASES = [case_of(fact) for fact in FACTS]


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("York is the capital of", "York is the capital of Kent.\n"),
        ("In which country is new york city the capital?", "New York City is the capital of Peru.\n"),
        ("When was New York City founded?", "New York City was founded in 1950.\n"),
        ("The mayor of Yorkshire is", ""),
        ("London is the capital of", ""),
    ],
)
def test_the_fact_that_is_retrieved_has_its_subject_named_and_shares_most_words(prompt: str, told: str) -> None:
    assert InContext(CASES, "retrieved").preface(CASES[0], prompt) == told


def test_the_right_fact_stands_before_all_prompts_of_its_case() -> None:
    case = Case("A is in", "Rome", "Oslo", ("Where is A?",), (Neighbor("B is in", "Oslo"),), ("A is",), subject="A")
    told = InContext([*CASES, case], "right").before(case)
    assert (told.prompt, *told.paraphrases) == ("A is in Rome.\nA is in", "A is in Rome.\nWhere is A?")
    assert told.neighbors == (Neighbor("A is in Rome.\nB is in", "Oslo"),)
    assert told.generation_prompts == ("A is in Rome.\nA is",) and (told.new, told.old) == ("Rome", "Oslo")
    assert InContext([*CASES, case], "retrieved").before(case).neighbors == case.neighbors


def test_what_is_told_in_context_is_measured_and_neighbours_are_held_to_what_is_said_without(
    demo: EditableModel,
) -> None:
    neighbor = Neighbor("Roger Federer plays the sport of", "tennis")
    fact = Fact("Kobe Bryant", "plays the sport of", "tennis", neighbors=(neighbor,))
    case = case_of(fact, old="basketball")
    before = evaluate(demo, [case], {}, honest=Honest(FREELY))
    told = evaluate(demo, [case], {}, honest=Honest(FREELY), in_context=InContext([case], "right"))
    found = evaluate(demo, [case], {}, honest=Honest(FREELY), in_context=InContext([case], "retrieved"))
    preface = "Kobe Bryant plays the sport of tennis.\n"
    assert told.results[0].outcomes.rewrite.prompt == preface + fact.prompt
    assert told.results[0].outcomes.rewrite.probability != before.results[0].outcomes.rewrite.probability
    kept = told.results[0].answers[-1]
    assert kept.prompt == neighbor.prompt and kept.expected == before.results[0].answers[-1].expected
    assert found.results[0].outcomes.rewrite == told.results[0].outcomes.rewrite
    assert found.results[0].outcomes.neighbors == before.results[0].outcomes.neighbors
