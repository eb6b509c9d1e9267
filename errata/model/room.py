"""Which prompts fit into the model's context, with their context prefixes and objects."""

from collections.abc import Iterator, Sequence

from errata.errors import FactProblem, TooLong
from errata.facts import Fact
from errata.model.chat import question_prompt
from errata.model.editable import EditableModel
from errata.model.tokens import target_ids

TEMPLATE_TOKENS = 1_000  # more than a chat template puts around a question


def require_room(model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str]) -> None:
    """Raise `TooLong`, naming each fact with a prompt that does not fit into the model's context."""
    problems = list(find_overlong(model, facts, max((_num_tokens(model, context) for context in contexts), default=0)))
    if problems:
        raise TooLong(problems)


def find_overlong(model: EditableModel, facts: Sequence[Fact], context_tokens: int) -> Iterator[FactProblem]:
    """Yield each prompt that is too long for the model with `context_tokens` before it and its object after it."""
    for index, fact in enumerate(facts):
        if context_tokens + _most_tokens(fact) <= model.max_length:  # nearly always, and cheaper than counting
            continue
        object_tokens = len(target_ids(model.tokenizer, fact.object))
        prompts = [("relation", fact.prompt, context_tokens + object_tokens)]
        prompts += [("phrasings", prompt, context_tokens + object_tokens) for prompt in fact.phrasings]
        prompts += [("questions", question_prompt(model, question), object_tokens) for question in fact.questions]
        prompts += [("paraphrases", prompt, object_tokens) for prompt in fact.paraphrases]
        prompts += [
            ("neighbors", neighbor.prompt, max(object_tokens, len(target_ids(model.tokenizer, neighbor.object))))
            for neighbor in fact.neighbors
        ]
        for field, prompt, others in prompts:
            total = _num_tokens(model, prompt) + others
            if total > model.max_length:
                detail = (
                    f"{prompt[:60]!r} takes {total} tokens with its object; the model has room for {model.max_length}"
                )
                yield FactProblem(index, field, detail)


def _most_tokens(fact: Fact) -> int:
    """Return an upper bound on the tokens of any of the fact's prompts with its object.

    A token covers at least one byte. Normalisation may triple the text first, and a tokenizer may add special tokens
    or a space.
    """
    neighbors = (neighbor.prompt for neighbor in fact.neighbors)
    prompts = (fact.prompt, *fact.phrasings, *fact.questions, *fact.paraphrases, *neighbors)
    objects = (fact.object, *(neighbor.object for neighbor in fact.neighbors))
    return (
        TEMPLATE_TOKENS * bool(fact.questions)
        + 3 * (max(len(text.encode()) for text in prompts) + max(len(text.encode()) for text in objects))
        + 8
    )


def _num_tokens(model: EditableModel, text: str) -> int:
    return len(model.tokenizer(text)["input_ids"])
