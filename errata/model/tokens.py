"""Prompts as token ids, with the place of the subject's last token, where every edit happens."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from errata.errors import ModelError
from errata.facts import PLACEHOLDER, SPACELESS, Fact, joint

# What a continuation is tokenised behind, to be cut off again. The first that stays a token of its own is taken.
ANCHORS = ("\n", "a", ".", "")
KL_TEMPLATE = f"{PLACEHOLDER} is a"
PROBE = ("The capital of France is", "Paris")


@dataclass(frozen=True, slots=True)
class SubjectPrompt:
    """A prompt's token ids and the index of the last token of its subject."""

    token_ids: tuple[int, ...]
    subject_last: int

    @property
    def up_to_subject(self) -> tuple[int, ...]:
        """The ids up to the subject's last token, which is all that a causal model sees there."""
        return self.token_ids[: self.subject_last + 1]

    @property
    def suffix_length(self) -> int:
        """The number of tokens from the subject's last one on."""
        return len(self.token_ids) - self.subject_last


def require_usable(tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Raise `ModelError` if a tokenizer cannot tell where a subject ends, or cannot continue a prompt.

    A continuation is tokenised apart from its prompt, so the tokens of both must be those of the whole text. It is not
    so where a tokenizer ends every text with a token.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{name} has a slow tokenizer, which cannot tell where a subject ends; a fast one is needed")
    prompt, continuation = PROBE
    whole = tokenizer(f"{prompt} {continuation}")["input_ids"]
    if [*tokenizer(prompt)["input_ids"], *target_ids(tokenizer, continuation)] != whole:
        raise ModelError(
            f"{name} has a tokenizer that cannot continue a prompt: the tokens of {prompt!r} followed by those of "
            f"{' ' + continuation!r} are not the tokens of both together"
        )


def subject_prompt(
    tokenizer: PreTrainedTokenizerFast, template: str, subject: str, *, context: str = ""
) -> SubjectPrompt:
    """Tokenise `context` followed by the template with the subject in it."""
    token_ids, subject_tokens = with_subject(tokenizer, template, subject, context=context)
    return SubjectPrompt(token_ids, subject_tokens[-1])


def with_subject(
    tokenizer: PreTrainedTokenizerFast, template: str, subject: str, *, context: str = ""
) -> tuple[tuple[int, ...], range]:
    """Tokenise `context` followed by the template with the subject in it; return the ids and the subject's places.

    The subject's tokens are those that hold a part of it, found by character offsets, so that punctuation, letters of
    several bytes and a subject inside the template need no special case.
    """
    before, after = template.split(PLACEHOLDER)
    start = len(context) + len(before)
    end = start + len(subject)
    encoded = tokenizer(context + before + subject + after, return_offsets_mapping=True)
    inside = [
        index
        for index, (token_start, token_end) in enumerate(encoded["offset_mapping"])
        if token_start < end and token_end > start
    ]
    return tuple(encoded["input_ids"]), range(inside[0], inside[-1] + 1)


def object_ids(tokenizer: PreTrainedTokenizerFast, fact: Fact) -> tuple[int, ...]:
    """Return the token ids of a fact's object as it continues the fact's prompt."""
    return target_ids(tokenizer, fact.object, fact.prompt, fact.space)


def target_ids(
    tokenizer: PreTrainedTokenizerFast, text: str, prompt: str = "", space: bool | None = None
) -> tuple[int, ...]:
    """Return the token ids of a continuation of `prompt`: the space between the two (see `joint`), then the text.

    It is tokenised behind a text that is cut off again, since some tokenizers (Llama 2's, say) put a space of their own
    before whatever they are given.
    """
    continuation = joint(prompt, space) + text.strip()
    for anchor in ANCHORS:
        before = tokenizer(anchor, add_special_tokens=False)["input_ids"]
        token_ids = tokenizer(anchor + continuation, add_special_tokens=False)["input_ids"]
        if (before or not anchor) and len(token_ids) > len(before) and token_ids[: len(before)] == before:
            break
    return tuple(token_ids[len(before) :])


def ends_in_word(tokenizer: PreTrainedTokenizerFast, token_ids: Sequence[int]) -> bool:
    """Return True if a text ends in a word that more letters would make longer."""
    last = str(tokenizer.decode([*token_ids]))[-1:]
    return bool(last) and _is_in_words(last)


def lengthening_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return the ids of the tokens that make a word before them longer, ascending (see `goes_on_in_word`)."""
    before = tokenizer("a", add_special_tokens=False)["input_ids"]
    texts = tokenizer.batch_decode([[*before, token_id] for token_id in range(len(tokenizer))])
    length = len(str(tokenizer.decode(before)))
    following = (text[length : length + 1] for text in texts)
    return [token_id for token_id, first in enumerate(following) if first and _is_in_words(first)]


def goes_on_in_word(tokenizer: PreTrainedTokenizerFast, token_ids: Sequence[int], next_id: int) -> bool:
    """Return True if a token makes the last word of a text longer. Where words have no spaces, none is made longer.

    A token that is only a part of a character counts as one that does.
    """
    text = str(tokenizer.decode([*token_ids]))
    around = str(tokenizer.decode([*token_ids, next_id]))[len(text) - 1 : len(text) + 1]
    return len(around) == 2 and all(map(_is_in_words, around))


def ends_word_at(text: str, place: int) -> bool:
    """Return True if the word before a place of a text, if there is one, is not made longer by what follows."""
    around = text[max(place - 1, 0) : place + 1]
    return len(around) < 2 or not all(map(_is_in_words, around))


def _is_in_words(character: str) -> bool:
    """Return True for a character of words that more letters would make longer."""
    if SPACELESS.search(character):
        return False
    return character.isalnum() or character == "\ufffd" or unicodedata.category(character).startswith("M")


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Pad rows of ids to one tensor (rows, longest). The zeros are on the right, where no earlier place sees them."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
