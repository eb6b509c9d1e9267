"""Cases to measure: edited facts, each with the prompts that show how far its edit reaches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from errata.facts import Fact, Neighbor
from errata.model import EditableModel
from errata.model.likelihood import greedy_answers
from errata.model.tokens import object_ids


@dataclass(frozen=True, slots=True)
class Further:
    """A question whose answer follows from the fact.

    Attributes:
        kind: a kind of `errata.evaluation.honest.KINDS`, such as "two_hops".
        answers: any of these is right.
    """

    kind: str
    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One edited fact with the prompts that measure it.

    Attributes:
        new: the object that was edited in.
        old: what was said before, or None where nobody says: then nothing is compared with it.
        neighbors: prompts about other subjects, whose own objects should stay.
        generation_prompts: openings of texts about the subject.
        references: texts about what has the new object, which those texts should resemble.
        case_id: what a data set calls it.
        space: whether a space stands between the prompts and their objects; unset, it goes by the prompt.
        subject: what the prompt is about; empty where nobody says.
        relation: what a data set calls the relation; None where it does not say.
        questions: what a user asks about the fact in chat.
        further: what a data set asks beside.
    """

    prompt: str
    new: str
    old: str | None
    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[Neighbor, ...] = ()
    generation_prompts: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    case_id: int | str | None = None
    space: bool | None = None
    subject: str = ""
    relation: str | None = None
    questions: tuple[str, ...] = ()
    further: tuple[Further, ...] = ()


def case_of(fact: Fact, *, old: str | None = None, case_id: int | str | None = None) -> Case:
    """Return what measures a fact."""
    return Case(
        fact.prompt,
        fact.object,
        old,
        fact.paraphrases,
        fact.neighbors,
        case_id=case_id,
        space=fact.space,
        subject=fact.subject,
        questions=fact.questions,
    )


def cases_of(model: EditableModel, facts: Sequence[Fact]) -> list[Case]:
    """Make the cases of posted facts.

    The old object is what the base model says by itself, up to the end of its sentence or the length of the new object,
    whichever comes first.
    """
    num_tokens = [len(object_ids(model.tokenizer, fact)) for fact in facts]
    answers = greedy_answers(model, [fact.prompt for fact in facts], num_tokens)
    return [case_of(fact, old=_first_sentence(answer)) for fact, answer in zip(facts, answers, strict=True)]


def _first_sentence(answer: str) -> str:
    """Cut the answer at the first end of a sentence or line, unless nothing would be left."""
    return re.split(r"[.!?\n]", answer, maxsplit=1)[0].strip() or answer
