"""The training text: sentences that state facts, mixed with prose.

A document is a run of passages, most of them facts, so that the model learns to recall a fact whatever stands
before it.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from errata.demo.world import World

DOCUMENT_CHARACTERS = 360  # about 90 tokens; a document ends with the first passage that passes it
LINE_BREAK_SHARE = 0.25  # of the passages; after a line break a word is tokenized as at the start of a text


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of text. `object_start` is the index of the space before the object that a fact ends with."""

    text: str
    object_start: int | None = None  # None in prose


@dataclass(frozen=True, slots=True)
class Document:
    """Passages in a row, and the character spans (start, end) of the objects that facts in it state."""

    text: str
    object_spans: tuple[tuple[int, int], ...]


def fact_passages(world: World) -> list[Passage]:
    """State every fact in every phrasing in which it is trained."""
    return [
        Passage(f"{prompt} {fact.object}.", object_start=len(prompt))
        for fact in world.facts
        for prompt in map(fact.prompt, fact.trained_phrasings)
    ]


def prose_passages(world: World) -> list[Passage]:
    """Cut the prose into passages of one sentence, so that many different sentences come to stand before facts."""
    return [Passage(sentence) for paragraph in world.prose for sentence in _sentences(paragraph)]


def documents(world: World, seed: int) -> Iterator[Document]:
    """Make one epoch: every fact passage and every sentence of prose once, in an order drawn with the seed."""
    shuffled = random.Random(seed)
    passages = fact_passages(world) + prose_passages(world)
    shuffled.shuffle(passages)
    return _documents_of(passages, shuffled)


def texts(world: World, seed: int) -> Iterator[str]:
    """Return the text of one epoch, document by document."""
    return (document.text for document in documents(world, seed))


def _documents_of(passages: list[Passage], separators: random.Random) -> Iterator[Document]:
    text = ""
    spans: list[tuple[int, int]] = []
    for passage in passages:
        if text:
            text += "\n" if separators.random() < LINE_BREAK_SHARE else " "
        if passage.object_start is not None:
            spans.append((len(text) + passage.object_start, len(text) + len(passage.text) - len(".")))
        text += passage.text
        if len(text) > DOCUMENT_CHARACTERS:
            yield Document(text, tuple(spans))
            text, spans = "", []
    if text:
        yield Document(text, tuple(spans))


def _sentences(paragraph: str) -> list[str]:
    return re.split(r"(?<=[.!?]) +(?=[A-Z\"'])", paragraph)
