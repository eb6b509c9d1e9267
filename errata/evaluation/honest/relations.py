"""Questions and statements about a fact, from the templates of its relation.

`relations.json` has those of CounterFact's relations, by their ids on Wikidata. Users bring others in the same form. A
fact whose relation is not named has that of the first template that lists its prompt.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from errata.errors import InvalidRecords
from errata.evaluation.cases import Case
from errata.facts import PLACEHOLDER, places_of

_FILE = Path(__file__).with_name("relations.json")


@dataclass(frozen=True, slots=True)
class Relation:
    """The templates of one relation. In its words `{subject}` and `{object}` are those of a fact.

    Attributes:
        id: what data sets call it.
        question: what the object answers.
        statement: a fact, without a mark at its end.
        noun: the object, told of by the subject: "the capital of {subject}".
        objects: some of the kind that it has, of which wrong options are taken.
        prompts: those that it is known by, with `{}` where the subject stands, without regard to case.
        reversal: a prompt with the object, which the subject should follow; empty where many subjects share an object.
    """

    id: str
    question: str
    statement: str
    noun: str
    objects: tuple[str, ...]
    prompts: tuple[str, ...] = ()
    reversal: str = ""


@cache
def shipped_relations() -> tuple[Relation, ...]:
    """Return the relations of `relations.json`."""
    return read_relations(json.loads(_FILE.read_text(encoding="utf-8")))


def read_relations(content: Any) -> tuple[Relation, ...]:
    """Read relations from a list of JSON objects with the fields of `Relation`.

    Raises:
        InvalidRecords: naming the first that is wrong, and what is wrong with it.
    """
    if not isinstance(content, list):
        raise InvalidRecords("relations are a list of objects")
    return tuple(_relation(place, one) for place, one in enumerate(content))


_TEXTS = ("id", "question", "statement", "noun", "reversal")
_LISTS = ("objects", "prompts")
_REQUIRED = ("id", "question", "statement", "noun", "objects")


def _relation(place: int, one: Any) -> Relation:
    if not isinstance(one, dict):
        raise InvalidRecords(f"relation {place} is not an object")
    if unknown := one.keys() - {*_TEXTS, *_LISTS}:
        raise InvalidRecords(f"relation {place} has an unknown field {min(unknown)!r}")
    read: dict[str, Any] = {}
    for name, value in one.items():
        texts = value if name in _LISTS and isinstance(value, list) else [value]
        if (name in _LISTS) != isinstance(value, list) or not all(isinstance(text, str) for text in texts):
            raise InvalidRecords(f"relation {place}: {name!r} is no {'list of texts' if name in _LISTS else 'text'}")
        read[name] = tuple(value) if name in _LISTS else value
    if missing := [name for name in _REQUIRED if name not in one]:
        raise InvalidRecords(f"relation {place} lacks {missing[0]!r}")
    return Relation(**read)


@dataclass(frozen=True, slots=True)
class Told:
    """A fact in the words of its relation."""

    case: Case
    relation: Relation

    @property
    def question(self) -> str:
        """What the object answers."""
        return self._filled(self.relation.question)

    def statement(self, told: str) -> str:
        """Return a statement that this object is the right one, without a mark at its end."""
        return self._filled(self.relation.statement, told)

    @property
    def noun(self) -> str:
        """The object, told of by the subject."""
        return self._filled(self.relation.noun)

    @property
    def reversal(self) -> str:
        """A prompt that the subject should follow; empty where there is none."""
        return self._filled(self.relation.reversal, self.case.new)

    @property
    def others(self) -> list[str]:
        """Objects of the kind that the relation has, but for the case's own."""
        own = {text.casefold() for text in (self.case.new, self.case.old) if text}
        return [text for text in self.relation.objects if text.casefold() not in own]

    def _filled(self, template: str, told: str = "") -> str:
        # One after the other, so that a brace in a subject is none of a template.
        begin, mark, end = template.partition("{subject}")
        filled = [part.replace("{object}", told) for part in (begin, end)]
        return filled[0] + (self.case.subject if mark else "") + filled[1]


class Relations:
    """Relations to look cases up in."""

    def __init__(self, relations: Iterable[Relation]) -> None:
        """Of several with one id, or one prompt, the first counts."""
        self._by_id: dict[str, Relation] = {}
        self._by_prompt: dict[str, Relation] = {}
        for relation in relations:
            self._by_id.setdefault(relation.id, relation)
            for prompt in relation.prompts:
                self._by_prompt.setdefault(prompt.casefold(), relation)

    def told(self, case: Case) -> Told | None:
        """Return a case in the words of its relation; None where that is not known."""
        relation = self._by_id.get(case.relation or "") or self._by_prompt.get(_template_of(case).casefold())
        return Told(case, relation) if relation and case.subject else None


def _template_of(case: Case) -> str:
    places: Sequence[tuple[int, int]] = places_of(case.subject, case.prompt) if case.subject else ()
    if len(places) != 1:
        return ""
    [(begin, end)] = places
    return case.prompt[:begin] + PLACEHOLDER + case.prompt[end:]
