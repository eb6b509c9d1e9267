"""Facts put before the prompts of the unedited model: the baseline that an edit must beat.

Before a prompt stands one fact on a line of its own, as its prompt with its object and a full stop: the right one, or
the one that is retrieved from all. Of the facts whose subject the prompt names, that is the one whose prompt shares
most words with it, of several the first. Where no subject is named, nothing is put before.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from errata.evaluation.cases import Case
from errata.facts import SPACELESS, Neighbor, joint, places_of

Which = Literal["right", "retrieved"]
"""Which fact stands before a prompt: that of its own case, or the one that is retrieved."""

_ENDS = (".", "!", "?", "。", "！", "？")  # noqa: RUF001 - full-width marks
# A letter of a script without spaces is a word.
_WORDS = re.compile(rf"(?!\s){SPACELESS.pattern}|[^\W_]+")


class InContext:
    """What stands before each prompt."""

    def __init__(self, cases: Sequence[Case], which: Which) -> None:
        """Take the cases of all facts that may be put before a prompt."""
        self._retrieval = _Retrieval(cases) if which == "retrieved" else None

    def preface(self, case: Case, prompt: str) -> str:
        """Return the fact that stands before one of a case's prompts, with its line break; empty where none does."""
        found = case if self._retrieval is None else self._retrieval.find(prompt)
        return f"{_told(found)}\n" if found else ""

    def before(self, case: Case) -> Case:
        """Return a case with facts before its prompts."""

        def after_fact(prompt: str) -> str:
            return self.preface(case, prompt) + prompt

        return replace(
            case,
            prompt=after_fact(case.prompt),
            paraphrases=tuple(map(after_fact, case.paraphrases)),
            neighbors=tuple(Neighbor(after_fact(one.prompt), one.object) for one in case.neighbors),
            generation_prompts=tuple(map(after_fact, case.generation_prompts)),
        )


def _told(case: Case) -> str:
    text = case.prompt + joint(case.prompt, case.space) + case.new
    return text if text.endswith(_ENDS) else f"{text}."


@dataclass(frozen=True, slots=True)
class _Entry:
    case: Case
    subject: str  # in lower case
    words: frozenset[str]  # of its prompt


class _Retrieval:
    """Facts to find the one that a prompt asks for."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._by_first_word: defaultdict[str, list[tuple[int, _Entry]]] = defaultdict(list)
        for place, case in enumerate(cases):
            entry = _Entry(case, case.subject.lower(), frozenset(_words(case.prompt)))
            if words := _words(case.subject):
                self._by_first_word[words[0]].append((place, entry))

    def find(self, prompt: str) -> Case | None:
        """Return the fact that is most like a prompt, of those whose subject it names."""
        words, text = frozenset(_words(prompt)), prompt.lower()
        named = [
            (place, entry)
            for word in words
            for place, entry in self._by_first_word.get(word, ())
            if places_of(entry.subject, text)
        ]
        if not named:
            return None
        _, best = max(named, key=lambda one: (len(one[1].words & words), -one[0]))
        return best.case


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower())
