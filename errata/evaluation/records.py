"""Records of data sets that facts are edited and measured with. A key tells the two forms apart:

    requested_rewrite   CounterFact, as the authors of ROME and MEMIT publish it
    src                 zsRE, as the authors of MEND, ROME and MEMIT publish it

Fields that neither edit nor measure are left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from errata.errors import FactProblem, InvalidFacts
from errata.evaluation.cases import Case, case_of
from errata.facts import PLACEHOLDER, Fact, Neighbor, find_problems, normalised, places_of, trimmed

ZsreObject = Literal["alt", "answers"]
"""Which field of a zsRE record is edited in: a false answer, or the first of the true ones."""

References = Mapping[tuple[str, str], Sequence[str]]
"""Texts about things that have an object, by the ids of relation and object."""


@dataclass(frozen=True, slots=True)
class Record:
    """A fact to edit in, and the case that measures it."""

    fact: Fact
    case: Case


def read_records(
    records: Iterable[Any], *, zsre_object: ZsreObject = "alt", references: References | None = None
) -> list[Record]:
    """Read facts and cases from records of either form, in their order.

    Args:
        zsre_object: `alt` as MEND, EasyEdit and Errata's client edit, or `answers` as MEMIT's tables were made.
        references: for consistency, from `reference_texts`; CounterFact records need the ids of relation and object
            then. Those of an object without texts have none.

    Raises:
        InvalidFacts: naming, by its index, every record that is wrong, and all that is wrong with it.
    """
    found: list[Record] = []
    problems: list[FactProblem] = []
    for index, record in enumerate(records):
        fields = _Fields(index, record)
        read = _read(fields, zsre_object, references)
        if read and not fields.problems:
            fields.problems += [replace(problem, index=index) for problem in find_problems([read.fact])]
        if read and not fields.problems:
            found.append(read)
        problems += fields.problems
    if problems:
        raise InvalidFacts(problems)
    return found


def _read(fields: _Fields, zsre_object: ZsreObject, references: References | None) -> Record | None:
    if not isinstance(fields.record, Mapping):
        fields.complain("record", f"is {_described(fields.record)}, not an object")
    elif "requested_rewrite" in fields.record:
        return _counterfact(fields, references)
    elif "src" in fields.record:
        return _zsre(fields, zsre_object)
    else:
        fields.complain("record", "has neither requested_rewrite, as CounterFact, nor src, as zsRE")
    return None


def reference_texts(snippets: Iterable[Any]) -> dict[tuple[str, str], list[str]]:
    """Read the texts of CounterFact's `attribute_snippets.json`, by the ids of relation and object.

    Raises:
        InvalidFacts: naming, by its index, every entry that is wrong.
    """
    texts: dict[tuple[str, str], list[str]] = {}
    problems: list[FactProblem] = []
    for index, entry in enumerate(snippets):
        fields = _Fields(index, entry)
        key = fields.text("relation_id"), fields.text("target_id")
        for place, sample in enumerate(fields.items("samples")):
            text = sample.get("text") if isinstance(sample, Mapping) else None
            texts.setdefault(key, []).append(fields.checked_text(text, f"samples[{place}].text"))
        problems += fields.problems
    if problems:
        raise InvalidFacts(problems)
    return texts


def _counterfact(fields: _Fields, references: References | None) -> Record:
    rewrite = "requested_rewrite"
    subject = fields.text(rewrite, "subject")
    template = fields.template(subject, rewrite, "prompt")
    new = fields.text(rewrite, "target_new", "str")
    old = normalised(fields.text(rewrite, "target_true", "str"))
    neighbors = tuple(Neighbor(prompt, old) for prompt in fields.texts("neighborhood_prompts"))
    fact = Fact(subject, template, new, fields.texts("paraphrase_prompts"), neighbors)
    texts: Sequence[str] = ()
    if references is not None:
        ids = fields.text(rewrite, "relation_id"), fields.text(rewrite, "target_new", "id")
        texts = references.get(ids, ())
    case = _case(fact, fields)
    return Record(
        fact,
        replace(
            case,
            old=old,
            relation=fields.optional_text(rewrite, "relation_id"),
            generation_prompts=fields.texts("generation_prompts"),
            references=tuple(texts),
        ),
    )


def _zsre(fields: _Fields, object_field: ZsreObject) -> Record:
    """Read a zsRE record. `loc` is asked as MEMIT's authors do: with its prefix, and with a "?" added."""
    subject = fields.text("subject")
    template = fields.template(subject, "src")
    answer = fields.text("alt") if object_field == "alt" else fields.first_text("answers")
    neighbor = Neighbor(f"{fields.text('loc')}?", fields.text("loc_ans"))
    fact = Fact(subject, template, answer, (fields.prompt("rephrase"),), (neighbor,))
    return Record(fact, _case(fact, fields))


def _case(fact: Fact, fields: _Fields) -> Case:
    case_id = fields.record.get("case_id")
    known = case_id if isinstance(case_id, int | str) else None
    return case_of(fact, case_id=known)


_MISSING = object()


class _Fields:
    """Reads the fields of one record. What is missing or wrong is noted once and read as empty."""

    def __init__(self, index: int, record: Any) -> None:
        self.record = record
        self.problems: list[FactProblem] = []
        self._index = index

    def complain(self, field: str, detail: str) -> None:
        """Note what is wrong with a field."""
        problem = FactProblem(self._index, field, detail)
        if problem not in self.problems:
            self.problems.append(problem)

    def text(self, *path: str) -> str:
        """Return a required text, stripped."""
        return self.prompt(*path).strip()

    def optional_text(self, *path: str) -> str | None:
        """Return a text; None where there is none."""
        *parents, name = path
        parent = self._value(parents)
        return self.text(*path) if isinstance(parent, Mapping) and parent.get(name) is not None else None

    def prompt(self, *path: str) -> str:
        """Return a required text, trimmed as prompts are."""
        return self.checked_text(self._value(path), ".".join(path))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an optional list of texts, each trimmed as prompts are."""
        return self._texts(name) if name in self.record else ()

    def first_text(self, name: str) -> str:
        """Return the first of a required list of texts."""
        if self._value((name,)) == []:
            self.complain(name, "is empty")
        return next(iter(self._texts(name)), "")

    def template(self, subject: str, *path: str) -> str:
        """Return a prompt with `{}` where the subject stands; put it there if the subject itself stands there, once."""
        prompt = self.prompt(*path)
        if not prompt or not subject or PLACEHOLDER in prompt:
            return prompt
        places = places_of(subject, prompt)
        if len(places) != 1:
            self.complain(".".join(path), f"{prompt!r} holds its subject {subject!r} {len(places)} times, not once")
            return prompt
        [(start, stop)] = places
        return f"{prompt[:start]}{PLACEHOLDER}{prompt[stop:]}"

    def items(self, name: str) -> list[Any]:
        """Return a required list."""
        value = self._value((name,))
        if isinstance(value, list):
            return value
        if value is not _MISSING:
            self.complain(name, f"is {_described(value)}, not a list")
        return []

    def checked_text(self, value: Any, field: str) -> str:
        """Return a value trimmed, or note that it is not text or is blank."""
        if isinstance(value, str) and (text := trimmed(value)):
            return text
        if value is not _MISSING:
            self.complain(field, "is blank" if isinstance(value, str) else f"is {_described(value)}, not text")
        return ""

    def _texts(self, name: str) -> tuple[str, ...]:
        return tuple(self.checked_text(item, f"{name}[{place}]") for place, item in enumerate(self.items(name)))

    def _value(self, path: Sequence[str]) -> Any:
        value = self.record
        for depth, name in enumerate(path):
            if not isinstance(value, Mapping):
                self.complain(".".join(path[:depth]) or "record", f"is {_described(value)}, not an object")
                return _MISSING
            if name not in value:
                self.complain(".".join(path[: depth + 1]), "is missing")
                return _MISSING
            value = value[name]
        return value


def _described(value: Any) -> str:
    """Return what JSON calls a value."""
    called = {
        type(None): "null",
        bool: "true or false",
        **dict.fromkeys((int, float), "a number"),
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return called.get(type(value), f"of type {type(value).__name__}")
