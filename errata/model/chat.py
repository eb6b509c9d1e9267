"""The chat template of a model, as text: what the model sees of a user's words, up to where it answers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from errata.model.editable import EditableModel

# Templates that tell a date (Llama 3's, say) tell this one, so that what is learnt today is built alike tomorrow.
DATE = datetime(2024, 7, 26)

Message = Mapping[str, str]


def has_template(model: EditableModel) -> bool:
    """Return True if the model has one chat template, or several of which one is the default."""
    tokenizer: Any = model.tokenizer
    try:
        return bool(tokenizer.get_chat_template())
    except ValueError:
        return False


def takes_questions(model: EditableModel) -> bool:
    """Return True if the model has a template that takes a user's message alone."""
    try:
        return has_template(model) and bool(question_prompt(model, "Is it?"))
    except Exception:  # a template is a program, and may raise whatever it likes
        return False


def question_prompt(model: EditableModel, question: str) -> str:
    """Return what comes before the answer to a user's question, without what the tokenizer itself puts before a text.

    Whatever the template raises is passed on.
    """
    return rendered(model, [{"role": "user", "content": question}], add_generation_prompt=True)


def ends_in_special(model: EditableModel, prompt: str) -> bool:
    """Return True if a prompt ends in a control token, behind which an answer begins without a space."""
    return model.tokenizer(prompt)["input_ids"][-1] in special_ids(model)


def special_ids(model: EditableModel) -> frozenset[int]:
    """Return the control tokens of a model, and those that end its texts."""
    tokenizer: Any = model.tokenizer
    added = [token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special]
    return end_ids_of(model).union(tokenizer.all_special_ids, added)


def end_ids_of(model: EditableModel) -> frozenset[int]:
    """Return the tokens by which a model itself ends a text."""
    ends = model.network.generation_config.eos_token_id
    if ends is None:
        ends = model.tokenizer.eos_token_id
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def rendered(model: EditableModel, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    """Return messages as the template lays them out, without what the tokenizer itself puts before a text.

    Where the template has the model think before it answers (Qwen3), there is no thought: facts are learnt as answers.
    """
    tokenizer: Any = model.tokenizer
    text = str(
        tokenizer.apply_chat_template(
            list(messages),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            enable_thinking=False,
            date_string=DATE.strftime("%d %b %Y"),
            strftime_now=DATE.strftime,
        )
    )
    beginning = tokenizer.bos_token
    if beginning and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        text = text.removeprefix(beginning)
    return text
