"""What a model says of itself, greedily, up to a natural end.

An answer ends with its line, with its sentence or with the text, and after `ROOM` tokens beyond the length of what is
expected. A full stop inside of what is expected ends nothing ("St. Louis").
"""

import re
from collections.abc import Sequence

from errata.evaluation.honest.probes import Probe
from errata.facts import SPACELESS
from errata.model import EditableModel
from errata.model.chat import special_ids
from errata.model.decoding import greedy_ids, text_of
from errata.model.tokens import ends_word_at, target_ids

ROOM = 16  # tokens
# A mark ends a sentence before white space, or where sentences have none between them.
_ENDS = re.compile(r"\n|[.!?](?=\s)|[。！？]")  # noqa: RUF001 - full-width marks
_MARKS = ".!?。！？"  # noqa: RUF001
_PAUSES = ",;:"
_WORD = re.compile(rf"(?!\s){SPACELESS.pattern}|(?:(?!{SPACELESS.pattern}).)+")


def sentences_after(model: EditableModel, probes: Sequence[Probe]) -> list[str]:
    """Return what the model says after each probe's prompt, up to its natural end, without white space around it."""
    special = special_ids(model)

    def is_over(place: int, ids: list[int]) -> bool:
        return ids[-1] in special or _end_of(text_of(model, ids, special).lstrip(), probes[place].expected) is not None

    most = [
        ROOM + max(len(target_ids(model.tokenizer, text, probe.text, probe.space)) for text in probe.expected)
        for probe in probes
    ]
    found = greedy_ids(model, [probe.text for probe in probes], most, is_over)
    return [sentence_of(text_of(model, ids, special), probe.expected) for ids, probe in zip(found, probes, strict=True)]


def sentence_of(text: str, expected: Sequence[str]) -> str:
    """Return a text up to its natural end, without white space around it."""
    text = text.strip()
    return text[: _end_of(text, expected)].strip()


def _end_of(text: str, expected: Sequence[str]) -> int | None:
    """Return where the first sentence or line of a text is over; None where it goes on."""
    for match in _ENDS.finditer(text):
        so_far = text[: match.end()]
        if not any(one.startswith(so_far) and one != so_far for one in expected):
            return match.end()
    return None


def begins_with(sentence: str, wanted: str) -> bool:
    """Return True if a sentence begins with what is wanted, and does not go on in its last word."""
    return sentence.startswith(wanted) and ends_word_at(sentence, len(wanted))


def is_all_of(sentence: str, wanted: str) -> bool:
    """Return True if a sentence says what is wanted and nothing else, with a mark at its end or without."""
    return wanted in (sentence, sentence.rstrip(_MARKS))


def opening_of(sentence: str, like: str) -> str:
    """Return as many words of a sentence as `like` has, without a mark behind the last."""
    words = [match.end() for match in _WORD.finditer(sentence)]
    last = min(sum(1 for _ in _WORD.finditer(like)), len(words))
    return sentence[: words[last - 1]].rstrip(_MARKS + _PAUSES) if last else ""
