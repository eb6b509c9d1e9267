"""Looking at records of facts before they are sent as an edit: what is wrong with each, and what it would change.

Records may be in any form that files of facts have, so that whoever has such a file need not know ours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any

from errata_client.dataset_formats import fact_of_record
from errata_client.facts import fact_bodies
from errata_client.records import CheckedFact, CheckedFacts, FieldProblem, Given, rules
from errata_client.records.wordings import describe
from errata_registry.versions.facts import FactIndex, name_of
from errata_registry.versions.names import VersionName
from fastapi import Body
from pydantic import ConfigDict, Field, SkipValidation, TypeAdapter, ValidationError

from errata.errors import pointer
from errata.facts import MAX_FACTS, Fact, find_long_prompts, find_problems
from errata_service.validation import path_of, unwritable, validated

_FACT = TypeAdapter(Fact)
_EXAMPLES = {
    "any form": {
        "summary": "A fact, one of EasyEdit's, and a row of a table",
        "value": {
            "records": [
                {"subject": "Michael Jordan", "relation": "plays the sport of", "object": "baseball"},
                {"prompt": "Sony has its headquarters in", "subject": "Sony", "target_new": "Paris"},
                ["Lionel Messi", "plays the sport of", "tennis"],
            ]
        },
    }
}


class CheckRequest(Given):
    """The body of `POST /facts/check`."""

    model_config = ConfigDict(json_schema_extra=rules("what a record may be, docs/http.md says"))

    records: Annotated[tuple[Any, ...], Field(min_length=1, max_length=MAX_FACTS)]
    version: VersionName | None = Field(default=None, description="The version to put them into; null: the active one.")


PostedCheck = Annotated[CheckRequest, SkipValidation, Body(openapi_examples=_EXAMPLES)]


def check_request(posted: PostedCheck) -> CheckRequest:
    """Read the body. Raises `RequestValidationError` where it has another form."""
    return validated(CheckRequest, posted)


def check(records: Sequence[Any], before: FactIndex, version: int) -> CheckedFacts:
    """Return what is wrong with each record, how its prompt reads, and what it would change in a version.

    Args:
        before: the facts of that version.
    """
    facts, faults = _read(records)
    for problem in (*find_problems(facts), *find_long_prompts(facts)):
        faults[problem.index].append(FieldProblem(pointer=pointer(*path_of(problem.field)), detail=problem.detail))
    checked = (_checked(fact, tuple(faults[number]), before) for number, fact in enumerate(facts))
    return CheckedFacts(version=version, data=tuple(checked))


def _read(records: Sequence[Any]) -> tuple[list[Fact], dict[int, list[FieldProblem]]]:
    """Return the facts that the records stand for, and what is wrong with records, by their numbers.

    A malformed record has a stand-in without fault, so that the others keep their numbers in what is said of them.
    """
    faults: dict[int, list[FieldProblem]] = defaultdict(list)
    for problem in unwritable(records):
        faults[problem.index].append(FieldProblem(pointer="", detail=problem.detail))
    facts = []
    for number, record in enumerate(records):
        try:
            if number in faults:
                raise ValueError
            [body] = fact_bodies([fact_of_record(record)])
            facts.append(_FACT.validate_python(body))
        except ValueError as error:
            facts.append(Fact(f"malformed fact {number}", "is", "malformed"))
            if number not in faults:
                faults[number].append(FieldProblem(pointer="", detail=_in_words(error)))
    return facts, faults


def _in_words(error: ValueError) -> str:
    return describe(error, Fact) if isinstance(error, ValidationError) else str(error)


def _checked(fact: Fact, faults: tuple[FieldProblem, ...], before: FactIndex) -> CheckedFact:
    if faults:
        return CheckedFact(errors=faults)
    held = before.get(fact.id)
    return CheckedFact(
        id=fact.id,
        fact=_FACT.dump_python(fact, mode="json", exclude_defaults=True),
        prompt=fact.prompt,
        before=held.object if held else None,
        alike=tuple(name_of(one) for one in before.alike(fact) if one.id != fact.id),
    )
