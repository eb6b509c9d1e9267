"""Whether an edit holds in chat: what the model answers when a user asks about a fact through its template.

An answer is read to its end, or for `ANSWER_TOKENS` beyond the object's own, greedily. It is right where it names the
object, to the end of the word: most models restate the question first ("The CEO of Twitter is …").
"""

from collections.abc import Sequence
from statistics import fmean

from errata.evaluation.sampling import greedy_ids
from errata.facts import Fact, places_of
from errata.model import EditableModel
from errata.model.chat import question_prompt, takes_questions
from errata.model.tokens import object_ids

ANSWER_TOKENS = 24


def said_in_chat(model: EditableModel, facts: Sequence[Fact]) -> list[float | None]:
    """Return the share of each fact's questions that are answered with its object, by the model as it is.

    A fact without questions is asked by its prompt, as a user's message. None where the model takes none.
    """
    if not takes_questions(model):
        return [None] * len(facts)
    questions = [fact.questions or (fact.prompt,) for fact in facts]
    asked = [question for its in questions for question in its]
    longest = max((len(object_ids(model.tokenizer, fact)) for fact in facts), default=0)
    answers = iter(answers_of(model, asked, ANSWER_TOKENS + longest))
    return [
        fmean(bool(places_of(fact.object, next(answers))) for _ in its)
        for fact, its in zip(facts, questions, strict=True)
    ]


def answers_of(model: EditableModel, questions: Sequence[str], num_tokens: int) -> list[str]:
    """Return what the model answers to users' questions, greedily, up to the end of its turn."""
    special = set(model.tokenizer.all_special_ids)
    ids = greedy_ids(model, [question_prompt(model, question) for question in questions], num_tokens=num_tokens)
    answers = []
    for row in ids:
        end = next((place for place, token_id in enumerate(row) if token_id in special), len(row))
        answers.append(str(model.tokenizer.decode(row[:end])).strip())
    return answers
