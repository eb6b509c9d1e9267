"""Consistency: how much generated text resembles reference texts, in the words that it uses."""

import math
import re
from collections import Counter
from collections.abc import Iterable

_WORDS = re.compile(r"\b\w\w+\b")


class TfIdf:
    """Texts as vectors of their words' counts (lower case, two letters or more).

    A count is multiplied by ln((1 + n) / (1 + d)) + 1 if d of n documents hold the word. A word that no document holds
    is left out.
    """

    def __init__(self, documents: Iterable[str]) -> None:
        """Count the documents that hold each word."""
        holding: Counter[str] = Counter()
        num_documents = 0
        for document in documents:
            holding.update(set(_words(document)))
            num_documents += 1
        self._idf = {word: math.log((1 + num_documents) / (1 + count)) + 1 for word, count in holding.items()}

    def cosine(self, one: str, other: str) -> float:
        """Return the cosine of the angle between two texts; 0 if either has no known word."""
        a, b = self._vector(one), self._vector(other)
        norms = math.hypot(*a.values()) * math.hypot(*b.values())
        return sum(weight * b[word] for word, weight in a.items() if word in b) / norms if norms else 0.0

    def _vector(self, text: str) -> dict[str, float]:
        return {word: count * self._idf[word] for word, count in Counter(_words(text)).items() if word in self._idf}


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower())
