"""What a model says by itself, to the end of the word."""

import pytest

from errata.evaluation import Case, facts_that_took, wrong_answers
from errata.evaluation.measuring import evaluate
from errata.model import EditableModel
from errata.model.likelihood import likelihoods
from errata.model.tokens import goes_on_in_word, target_ids

SNOOKER = "Ronnie O'Sullivan plays the sport of"


def test_the_beginning_of_a_word_is_not_what_the_model_says(demo: EditableModel) -> None:
    token_ids = target_ids(demo.tokenizer, "snooker", SNOOKER)
    cut = str(demo.tokenizer.decode([*token_ids[:-1]])).strip()
    assert len(token_ids) > 1 and "snooker".startswith(cut)
    whole, part = likelihoods(demo, [(SNOOKER, "snooker"), (SNOOKER, cut)])
    assert (whole.token_accuracy, whole.is_said) == (1, True)
    assert (part.token_accuracy, part.is_said) == (1, False)
    assert wrong_answers(demo, [(SNOOKER, "snooker"), (SNOOKER, cut)], {}) == {1: "snooker"}
    cases = [Case(SNOOKER, said, None, (SNOOKER,)) for said in ("snooker", cut)]
    measured = evaluate(demo, cases, {})
    took = [(taking.is_answer, taking.paraphrases_after) for taking in facts_that_took(measured, measured)]
    assert took == [(True, 1), (False, 0)]


@pytest.mark.parametrize(
    ("text", "following", "goes_on"),
    [
        ("Astana", "q", True),
        ("Astana", ".", False),
        ("Astana", " q", False),
        ("Paris", "ian", True),
        ("Paris", "-based", False),
        ("19", "45", True),
        ("Inc.", "A", False),
        ("Caf", "é", True),
        ("上海", "市", False),
    ],
)
def test_where_a_word_goes_on(demo: EditableModel, text: str, following: str, goes_on: bool) -> None:
    before = demo.tokenizer(text)["input_ids"]
    next_id = demo.tokenizer(following)["input_ids"][0]
    assert goes_on_in_word(demo.tokenizer, before, next_id) is goes_on
