"""Reading records of any form, with all that is wrong named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from errata.errors import FactProblem, InvalidFacts
from errata.evaluation.records.fields import Fields, described
from errata.evaluation.records.forms import FORMS, Reading, Record, References, ZsreObject
from errata.facts import find_problems


def read_records(
    records: Iterable[Any], *, zsre_object: ZsreObject = "alt", references: References | None = None
) -> list[Record]:
    """Read facts and cases from records of any form, in their order; one of MQuAKE has several facts.

    Args:
        zsre_object: `alt` as MEND, EasyEdit and Errata's client edit, or `answers` as MEMIT's tables were made.
        references: for consistency, from `reference_texts`; CounterFact records need the ids of relation and object
            then. Those of an object without texts have none.

    Raises:
        InvalidFacts: naming, by its index, every record that is wrong, and all that is wrong with it.
    """
    reading, found = Reading(zsre_object, references), list[Record]()
    problems: list[FactProblem] = []
    for index, record in enumerate(records):
        fields = Fields(index, record)
        read = _read(fields, reading)
        if not fields.problems:
            wrong = find_problems([one.fact for one in read])
            fields.problems += [replace(problem, index=index) for problem in wrong]
        if not fields.problems:
            found += read
        problems += fields.problems
    if problems:
        raise InvalidFacts(problems)
    return found


def _read(fields: Fields, reading: Reading) -> list[Record]:
    if not isinstance(fields.record, Mapping):
        fields.complain("record", f"is {described(fields.record)}, not an object")
        return []
    for key, (_, form) in FORMS.items():
        if key in fields.record:
            return form(fields, reading)
    known = ", ".join(f"{key} ({name})" for key, (name, _) in FORMS.items())
    fields.complain("record", f"has none of {known}")
    return []


def reference_texts(snippets: Iterable[Any]) -> dict[tuple[str, str], list[str]]:
    """Read the texts of CounterFact's `attribute_snippets.json`, by the ids of relation and object.

    Raises:
        InvalidFacts: naming, by its index, every entry that is wrong.
    """
    texts: dict[tuple[str, str], list[str]] = {}
    problems: list[FactProblem] = []
    for index, entry in enumerate(snippets):
        fields = Fields(index, entry)
        key = fields.text("relation_id"), fields.text("target_id")
        for place, sample in enumerate(fields.items("samples")):
            text = sample.get("text") if isinstance(sample, Mapping) else None
            texts.setdefault(key, []).append(fields.checked_text(text, f"samples[{place}].text"))
        problems += fields.problems
    if problems:
        raise InvalidFacts(problems)
    return texts
