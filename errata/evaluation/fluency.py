"""Fluency: the entropy of a text's word n-grams. It is low in a model that repeats itself."""

import math
import re
from collections import Counter
from statistics import fmean

WEIGHTS = {2: 2 / 3, 3: 4 / 3}  # of the entropies of n-grams, by n

# Words and marks as the Penn Treebank parts them, near enough: "don't" is "do" and "n't", "Asia's" is "Asia" and "'s".
_WORDS = re.compile(r"\w+(?=n't\b)|n't\b|'(?:s|m|d|ll|re|ve)\b|\w+(?:[-.,]\w+)*|\.\.\.|[^\w\s]", re.IGNORECASE)


def ngram_entropy(text: str) -> float:
    """Return the mean of 2/3 H₂ and 4/3 H₃, Hₙ the entropy in bits of the text's word n-grams; 0 for one word."""
    words = _WORDS.findall(text)
    return fmean(weight * _entropy(_ngrams(words, n)) for n, weight in WEIGHTS.items())


def _ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def _entropy(counts: Counter[tuple[str, ...]]) -> float:
    total = counts.total()
    return -math.fsum(count / total * math.log2(count / total) for count in counts.values())
