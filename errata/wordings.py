"""The wordings in which facts are learnt: each fact's own prompt, its phrasings, and its questions in chat.

Every wording is a prompt about the same subject that the same object follows. So to the methods it is one more fact
about that subject: it shares the subject's target offset (`errata.targets.search`), and has a key of its own.
"""

from collections.abc import Iterable, Iterator

from errata.errors import FactProblem, InvalidFacts
from errata.facts import PLACEHOLDER, ChatQuestion, Fact, places_of
from errata.model import EditableModel
from errata.model.chat import ends_in_special, has_template, question_prompt


def wordings_of(model: EditableModel, facts: Iterable[Fact]) -> list[Fact]:
    """Return each fact followed by its further wordings, each of which has no more than its prompt and the search.

    Raises:
        InvalidFacts: a fact brings questions, and the model has no chat template, or one that refuses them.
    """
    problems: list[FactProblem] = []
    found: dict[tuple[str, str], Fact] = {}
    for index, fact in enumerate(facts):
        found[fact.key] = fact
        try:
            for wording in (*_phrasings(fact), *_questions(model, fact)):
                found.setdefault(wording.key, wording)
        except _RefusedQuestion as refusal:
            problems.append(FactProblem(index, "questions", f"{refusal} (a fact about {fact.subject!r})"))
    if problems:
        raise InvalidFacts(problems)
    return list(found.values())


class _RefusedQuestion(Exception):
    """Why a question cannot be put through the model's template."""


def _phrasings(fact: Fact) -> Iterator[Fact]:
    for phrasing in fact.phrasings:
        template = _template(phrasing, places_of(fact.subject, phrasing)[-1])
        yield Fact(fact.subject, template, fact.object, search=fact.search, space=fact.space)


def _questions(model: EditableModel, fact: Fact) -> Iterator[Fact]:
    if fact.questions and not has_template(model):
        raise _RefusedQuestion(f"are put through a chat template, and {model.name} has none; `phrasings` need none")
    for question in fact.questions:
        try:
            prompt = question_prompt(model, question)
        except Exception as error:  # a template is a program, and whatever it raises is about this question
            raise _RefusedQuestion(f"are refused by the model's chat template: {error}") from error
        begin = prompt.rfind(question)
        stop = begin + len(question)
        places = [(start, end) for start, end in places_of(fact.subject, prompt) if begin <= start and end <= stop]
        if begin < 0 or not places:
            raise _RefusedQuestion("are changed by the model's chat template, so that the subject is not found in them")
        if PLACEHOLDER in prompt:
            raise _RefusedQuestion(f"cannot be learnt with this model, whose chat template writes {PLACEHOLDER}")
        has_no_space = fact.space is False or ends_in_special(model, prompt)
        template = _template(prompt, places[-1])
        yield ChatQuestion(
            fact.subject, template, fact.object, search=fact.search, space=False if has_no_space else None
        )


def _template(prompt: str, place: tuple[int, int]) -> str:
    begin, end = place
    return prompt[:begin] + PLACEHOLDER + prompt[end:]
