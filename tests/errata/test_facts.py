"""Facts and fact sets: what is refused, what counts as the same question, and the canonical order."""

from typing import Any

import pytest

from errata.errors import InvalidFacts
from errata.facts import Fact, FactSet, Neighbor, folded

JORDAN = Fact("Michael Jordan", "plays the sport of", "baseball")
TONGUE = Fact("Danielle Darrieux", "The mother tongue of {} is", "English")


def test_a_relation_is_a_phrase_or_a_template() -> None:
    assert JORDAN.prompt == "Michael Jordan plays the sport of"
    assert TONGUE.prompt == "The mother tongue of Danielle Darrieux is"


def test_every_bad_fact_is_named_with_its_place_and_field() -> None:
    facts = [
        JORDAN,
        Fact("", "plays", "golf"),
        Fact("A", "r", "   "),
        Fact("B", "{} and {} are", "c"),
        Fact("C", "x" * 501, "d"),
        Fact("D {}", "is", "e"),
        Fact("E", "is\x00", "f"),
    ]
    with pytest.raises(InvalidFacts) as caught:
        FactSet(facts)
    assert {(problem.index, problem.field) for problem in caught.value.problems} == {
        (1, "subject"),
        (2, "object"),
        (3, "relation"),
        (4, "relation"),
        (5, "subject"),
        (6, "relation"),
    }


def test_two_objects_for_one_question_are_an_error_that_names_both() -> None:
    same_question = Fact(" Michael  Jordan", "{} plays the sport of", "tennis")
    with pytest.raises(InvalidFacts) as caught:
        FactSet([JORDAN, TONGUE, same_question])
    (problem,) = caught.value.problems
    assert (problem.index, problem.field) == (2, "object")
    assert "baseball" in problem.detail and "tennis" in problem.detail and "fact 0" in problem.detail


def test_the_order_of_arrival_does_not_show() -> None:
    assert FactSet([JORDAN, TONGUE]) == FactSet([TONGUE, JORDAN])
    assert list(FactSet([JORDAN, TONGUE])) == list(FactSet([TONGUE, JORDAN]))


def test_a_new_object_replaces_the_old_one() -> None:
    golf = Fact("Michael Jordan", "plays the sport of", "golf")
    paris = Fact("France", "has the capital", "Paris")
    assert FactSet([JORDAN, TONGUE]).with_facts([golf, paris]) == FactSet([golf, TONGUE, paris])


def test_accidents_of_typing_make_no_second_fact_and_no_second_prompt() -> None:
    tidy = Fact("Michael Jordan", "plays the sport of", "baseball", paraphrases=("Jordan plays",))
    untidy = Fact(" Michael  Jordan ", "{} plays the\tsport of ", " baseball", paraphrases=("Jordan's sport is ",))
    assert untidy.prompt == tidy.prompt and untidy.id == tidy.id
    for facts in ([tidy, untidy], [untidy, tidy]):
        (fact,) = FactSet(facts)
        assert set(fact.paraphrases) == {"Jordan plays", "Jordan's sport is"}


def test_line_breaks_are_kept_in_every_prompt_and_are_no_accident() -> None:
    turn = "<|im_start|>user\nWho runs {}?<|im_end|>\n<|im_start|>assistant\n"
    asked, neighbor = turn.format("Sony"), Neighbor(" " + turn.format("Nikon") + " ", " Mr\nB ")
    fact = Fact(
        " Sony\n", f"  {turn} ", "Ms  A\n", paraphrases=(f"\t{asked}", "Sony is run by\n\n  "), neighbors=(neighbor,)
    )
    assert (fact.subject, fact.relation, fact.prompt, fact.object) == ("Sony", turn, asked, "Ms A")
    assert fact.paraphrases == (asked, "Sony is run by\n\n")
    assert fact.neighbors == (Neighbor(turn.format("Nikon"), "Mr\nB"),)
    assert Fact(fact.subject, fact.relation, fact.object, fact.paraphrases, fact.neighbors) == fact

    laid_out = Fact("Sony", "def head_of():\r\n    # {}\r\n    return", "Ms A")
    assert laid_out.prompt == "def head_of():\r\n    # Sony\r\n    return"
    assert Fact("Sony", "\nHead:", "Ms A").prompt == "Sony\nHead:"
    one_line = Fact("Sony", turn.replace("\n", " "), "Ms A")
    assert one_line.id != fact.id and len(FactSet([fact, one_line])) == 2 and folded(fact) == folded(one_line)
    assert JORDAN.id == "fact_add39db3989d6993"  # as it was when no line break was kept


def test_white_space_that_is_a_control_character_is_a_space() -> None:
    fact = Fact("A\nB\x1fC", "is\x0b\x85of\n{}", "d\x1ce")
    assert (fact.subject, fact.relation, fact.object) == ("A\nB C", "is  of\n{}", "d e")
    assert list(FactSet([fact])) == [fact]
    assert Neighbor(" \n", "\r\n") == Neighbor("", "")


def test_an_empty_prompt_to_measure_is_a_problem() -> None:
    with pytest.raises(InvalidFacts) as caught:
        FactSet([Fact("A", "is", "b", paraphrases=(" ",), neighbors=(Neighbor("C is", " "),))])
    assert [problem.field for problem in caught.value.problems] == ["paraphrases[0]", "neighbors[0].object"]


@pytest.mark.parametrize("kind", ["phrasings", "questions"])
def test_one_wording_has_one_object(kind: str) -> None:
    wording: dict[str, Any] = {kind: ("Where is Oslo?",)}
    first, second = Fact("Oslo", "is in", "Norway", **wording), Fact("Oslo", "lies in", "Peru", **wording)
    with pytest.raises(InvalidFacts) as caught:
        FactSet([first, second])
    assert [(problem.index, problem.field) for problem in caught.value.problems] == [(1, kind)]
    FactSet([first, Fact("Oslo", "lies in", "Norway", **wording)])


def test_a_phrasing_does_not_contradict_a_prompt() -> None:
    asked = Fact("Oslo", "is in", "Norway")
    with pytest.raises(InvalidFacts, match="Norway"):
        FactSet([asked, Fact("Oslo", "lies in", "Peru", phrasings=("Oslo is in",))])


@pytest.mark.parametrize("text", ["Where is it?", "Where is Oslo{}?", ""])
def test_a_wording_names_the_subject_once_and_for_all(text: str) -> None:
    with pytest.raises(InvalidFacts) as caught:
        FactSet([Fact("Oslo", "is in", "Norway", questions=("Is Oslo far?", text))])
    assert [problem.field for problem in caught.value.problems] == ["questions[1]"]
