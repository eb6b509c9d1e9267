"""Whether an edit holds in chat: what the model answers when a user asks about a fact through its template.

An answer is read to its end, or for `ANSWER_TOKENS` beyond the object's own, greedily. It is right where it names the
object, to the end of the word: most models restate the question first ("The CEO of Twitter is …").
"""

from collections.abc import Callable, Sequence
from statistics import fmean

from errata.facts import Fact, places_of
from errata.model import EditableModel
from errata.model.chat import question_prompt, special_ids, takes_questions
from errata.model.decoding import ROWS_PER_BATCH, greedy_ids, text_of
from errata.model.tokens import object_ids

ANSWER_TOKENS = 24


def said_in_chat(
    model: EditableModel, facts: Sequence[Fact], on_batch: Callable[[], None] = lambda: None
) -> list[float | None]:
    """Return the share of each fact's questions that are answered with its object, by the model as it is.

    A fact without questions is asked by its prompt, as a user's message. None where the model's template takes no
    questions, or not these, and where there is no room for an answer. `on_batch` is called before each batch.
    """
    if not takes_questions(model):
        return [None] * len(facts)
    shares: list[float | None] = []
    for start in range(0, len(facts), ROWS_PER_BATCH):
        on_batch()
        shares += _shares(model, facts[start : start + ROWS_PER_BATCH])
    return shares


def _shares(model: EditableModel, facts: Sequence[Fact]) -> list[float | None]:
    num_tokens = ANSWER_TOKENS + max(len(object_ids(model.tokenizer, fact)) for fact in facts)
    asked = {
        (place, question): prompt
        for place, fact in enumerate(facts)
        for question in fact.questions or (fact.prompt,)
        if (prompt := _prompt(model, question, num_tokens)) is not None
    }
    answers = dict(zip(asked, _continued(model, list(asked.values()), num_tokens), strict=True))
    of_facts: list[list[bool]] = [[] for _ in facts]
    for (place, _), answer in answers.items():
        of_facts[place].append(bool(places_of(facts[place].object, answer)))
    return [fmean(of_fact) if of_fact else None for of_fact in of_facts]


def _prompt(model: EditableModel, question: str, num_tokens: int) -> str | None:
    try:
        prompt = question_prompt(model, question)
    except Exception:  # a template is a program, and may refuse what it likes
        return None
    return prompt if len(model.tokenizer(prompt)["input_ids"]) + num_tokens <= model.max_length else None


def answers_of(model: EditableModel, questions: Sequence[str], num_tokens: int) -> list[str]:
    """Return what the model answers to users' questions, greedily, up to the end of its turn.

    Whatever the template raises is passed on.
    """
    return _continued(model, [question_prompt(model, question) for question in questions], num_tokens)


def _continued(model: EditableModel, prompts: Sequence[str], num_tokens: int) -> list[str]:
    special = special_ids(model)
    found = greedy_ids(model, prompts, [num_tokens] * len(prompts), lambda _, ids: ids[-1] in special)
    return [text_of(model, ids, special).strip() for ids in found]
