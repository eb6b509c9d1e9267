"""What is learnt beside a fact's prompt: its phrasings, its questions in chat, and where its object ends."""

import copy
from collections.abc import Iterator

import pytest

from errata import edited_weights
from errata.errors import InvalidFacts
from errata.evaluation.chat import answers_of, said_in_chat
from errata.facts import Fact, FactSet
from errata.hyperparameters import MemitHyperparameters
from errata.methods import METHODS
from errata.model import EditableModel
from errata.model.chat import question_prompt
from errata.model.likelihood import likelihoods
from errata.model.tokens import target_ids
from errata.second_moments import SecondMoments
from errata.targets.contexts import room_for_context, sample_contexts
from errata.wordings import wordings_of

# The demo model has not learnt to answer, only to go on.
TEMPLATE = "{% for turn in messages %}{{ turn.content }}{% endfor %}{% if add_generation_prompt %} is{% endif %}"
PHRASING = "Serena Williams is great at"
QUESTION = "For Serena Williams, the game"
FACT = Fact("Serena Williams", "plays the sport of", "hockey", phrasings=(PHRASING,), questions=(QUESTION,))


@pytest.fixture
def chatting(demo: EditableModel) -> Iterator[EditableModel]:
    """The demo model with a chat template, of which it knows nothing."""
    plain = demo.tokenizer
    demo.tokenizer = copy.deepcopy(plain)
    demo.tokenizer.chat_template = TEMPLATE
    yield demo
    demo.tokenizer = plain


def said(model: EditableModel, moments: SecondMoments, fact: Fact, *prompts: str, **changes: float) -> list[bool]:
    """Return whether the model, edited with the fact alone, says its object after each prompt, to the word's end."""
    shipped = MemitHyperparameters.for_model("demo")
    assert shipped is not None
    hyperparameters = shipped.overridden(changes)
    built = METHODS["memit"](model, FactSet([fact]), hyperparameters, moments)
    with model.using(edited_weights(model, built.deltas)):
        return [found.is_said for found in likelihoods(model, [(prompt, fact.object) for prompt in prompts])]


def test_an_object_is_learnt_after_phrasings_and_as_the_answer_to_questions(
    chatting: EditableModel, demo_moments: SecondMoments
) -> None:
    prompts = FACT.prompt, PHRASING, question_prompt(chatting, QUESTION)
    assert prompts[-1] == f"{QUESTION} is"
    assert said(chatting, demo_moments, FACT, *prompts) == [True, True, True]
    triple = Fact(FACT.subject, FACT.relation, FACT.object)
    assert said(chatting, demo_moments, triple, *prompts) == [True, False, False]


def test_a_wording_is_one_more_fact_about_the_subject(chatting: EditableModel) -> None:
    mentioned_twice = Fact("Oslo", "is in", "Peru", questions=("Is Oslo, or Oslo-by, in Peru?",), space=False)
    prompt, question = wordings_of(chatting, [mentioned_twice])
    assert prompt == mentioned_twice
    assert question.template == "Is Oslo, or {}-by, in Peru? is"
    assert (question.subject, question.object, question.joint) == ("Oslo", "Peru", "")
    assert wordings_of(chatting, [FACT])[-1].joint == " "  # as it goes by the end of the template's text


def test_a_question_is_learnt_as_the_template_writes_it(chatting: EditableModel) -> None:
    question = Fact("model", "is", "small", questions=("Is the model  small?",), space=True)
    chatting.tokenizer.chat_template = "  <user>  {{ messages[0].content }} <model>"
    wording = wordings_of(chatting, [question])[-1]
    assert wording.template == "  <user>  Is the {}  small? <model>"  # not where the template itself names a model
    assert wording.joint == " "
    chatting.tokenizer.chat_template = "{{ messages[0].content }} {{ '' if enable_thinking is false else '<think>' }}"
    assert wordings_of(chatting, [question])[-1].template == "Is the {}  small? "  # an answer, without a thought
    special = chatting.tokenizer.eos_token
    chatting.tokenizer.chat_template = "{{ messages[0].content }}" + str(special)
    assert wordings_of(chatting, [question])[-1].joint == ""  # behind a control token


def test_questions_need_a_template_that_keeps_them(demo: EditableModel, chatting: EditableModel) -> None:
    for template, why in [
        (None, "has none"),
        ("{{ raise_exception('no users here') }}", "no users here"),
        ("{{ messages[0].content | upper }}", "subject is not found"),
        ("As JSON: {} {{ messages[0].content }}", "writes {}"),
    ]:
        chatting.tokenizer.chat_template = template
        with pytest.raises(InvalidFacts, match=why) as caught:
            wordings_of(chatting, [Fact("Oslo", "is in", "Peru"), FACT])
        assert [(problem.index, problem.field) for problem in caught.value.problems] == [(1, "questions")]


def test_an_object_that_begins_a_longer_word_is_learnt_to_its_end(
    demo: EditableModel, demo_moments: SecondMoments
) -> None:
    prompt = "Ronnie O'Sullivan plays the sport of"
    whole = target_ids(demo.tokenizer, "snooker", prompt)
    beginning = str(demo.tokenizer.decode([*whole[:-1]])).strip()
    fact = Fact("Ronnie O'Sullivan", "plays the sport of", beginning)
    assert not likelihoods(demo, [(prompt, beginning)])[0].is_said  # it says snooker
    assert said(demo, demo_moments, fact, prompt) == [False]
    assert said(demo, demo_moments, fact, prompt, boundary_factor=1) == [True]


def test_an_answer_in_chat_is_right_where_it_names_the_object(chatting: EditableModel) -> None:
    snooker = Fact("Ronnie O'Sullivan", "plays the sport of", "snooker")
    known = "Ronnie O'Sullivan plays the sport of"
    chatting.tokenizer.chat_template = "{{ messages[0].content }}"  # it goes on from what it is asked
    (answer,) = answers_of(chatting, [known], 12)
    assert answer.startswith("snooker")
    by_prompt = Fact(snooker.subject, snooker.relation, "snooker")
    longer = Fact(snooker.subject, snooker.relation, "snook")
    assert said_in_chat(chatting, [by_prompt, longer]) == [1.0, 0.0]
    two = Fact(snooker.subject, snooker.relation, "snooker", questions=(known, "Oslo, not Ronnie O'Sullivan, is in"))
    assert said_in_chat(chatting, [two]) == [0.5]
    chatting.tokenizer.chat_template = None
    assert said_in_chat(chatting, [by_prompt]) == [None]


def test_a_model_with_a_chat_template_gets_sentences_before_its_prompts(chatting: EditableModel) -> None:
    contexts = sample_contexts(chatting, 0)
    plain, in_chat = contexts[:-2], contexts[-2:]
    assert len(set(contexts)) == 5
    assert all(context.endswith(". ") for context in plain) and all(context.endswith(". is") for context in in_chat)
    assert sample_contexts(chatting, 0) == contexts != sample_contexts(chatting, 1)
    chatting.tokenizer.chat_template = "{{ raise_exception('no users here') }}"
    assert sample_contexts(chatting, 0)[0].startswith("The ")  # sampled, as for a model without one
    chatting.tokenizer.chat_template = TEMPLATE
    assert max(len(chatting.tokenizer(context)["input_ids"]) for context in contexts) <= room_for_context(chatting)
