"""What is wrong with what was given, in the words of whoever gave it: JSON's, and the names of our own fields.

pydantic finds the faults and tells of them as Python sees them. Here each is told by its type. Faults that a record of
ours finds itself (`PydanticCustomError`) have our words already.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core.core_schema import ErrorType

MOST_TOLD = 10
UNKNOWN_FORM = "is not of a form that is taken here"

_OF_PYDANTIC = frozenset(get_args(ErrorType))
_MISSING = {"missing", "missing_argument", "missing_keyword_only_argument", "missing_positional_only_argument"}
_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_WORDS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "string_unicode": "must be text in UTF-8",
    "json_invalid": "is not JSON: {error}",
    "invalid_key": "has a field whose name is not text",
    "recursion_loop": "is nested too deep",
}
_WANTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "string": "a string",
    **dict.fromkeys(("list", "tuple"), "a list"),
    **dict.fromkeys(("dict", "mapping", "model", "dataclass"), "an object"),
    "datetime": "a time such as 2026-01-31T12:00:00Z",
}
_PATTERNS = {
    r"^fact_[0-9a-f]{16}$": "must be the id of a fact, `fact_` and 16 hexadecimal digits",
    r"^\d{1,15}:fact_[0-9a-f]{16}$": "must be what an answer has as `next`",
    r"^\d+$": "must be what an answer has as `next`",
    r"^\d+(-\d+)?$": "must be the id of an event",
}


class Fault(NamedTuple):
    """One fault: its place, as a path of names and indices, and what is wrong there."""

    path: tuple[str | int, ...]
    detail: str


def fault_of(error: Mapping[str, Any], kind: Any) -> Fault:
    """Return the fault that pydantic tells of in what was to be of a kind, which is a type."""
    place = error["loc"]
    if error["type"] in _UNKNOWN and place:
        path, holder = _walk(kind, place[:-1])
        return Fault((*path, place[-1]), _unlike(str(place[-1]), list(_fields(holder)), "a known field"))
    return Fault(tuple(_walk(kind, place)[0]), _detail(error))


def describe(error: ValidationError, kind: Any) -> str:
    """Return what is wrong with what was to be of a kind, each fault with the name of its field."""
    faults = [fault_of(one, kind) for one in error.errors(include_url=False)]
    told = [f"{'.'.join(map(str, path))}: {detail}" if path else detail for path, detail in faults[:MOST_TOLD]]
    return "; ".join(told) + (f"; and {len(faults) - MOST_TOLD} more" if len(faults) > MOST_TOLD else "")


@contextmanager
def in_words(kind: Any) -> Iterator[None]:
    """Raise a `ValueError` that says in words what pydantic finds wrong with what is to be of a kind."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(describe(error, kind)) from error


def _detail(error: Mapping[str, Any]) -> str:
    kind, given, context = error["type"], error.get("input"), error.get("ctx", {})
    if kind not in _OF_PYDANTIC:
        return str(error["msg"])
    if kind in _MISSING:
        return "is required"
    if kind in ("literal_error", "enum"):
        known = re.findall("'([^']*)'", context["expected"])
        return _unlike(given, known, "known") if isinstance(given, str) else _other_than(" or ".join(known), given)
    if kind in ("value_error", "assertion_error"):
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
    if "min_length" in context or "max_length" in context:
        return _too_short_or_long(given, context)
    if kind in _WORDS:
        return _WORDS[kind].format_map({name: _shown(value) for name, value in context.items()})
    if wanted := next((words for name, words in _WANTED.items() if kind.startswith(f"{name}_")), None):
        return _other_than(wanted, given) if kind.endswith("_type") else f"must be {wanted}"
    return UNKNOWN_FORM


def _unlike(name: str, known: Collection[str], what: str) -> str:
    """Say that a name is none of those that are known, which they are, and which was probably meant."""
    there_are = f"; there {'are' if len(known) > 1 else 'is'} {', '.join(known)}" if known else ""
    meant = difflib.get_close_matches(name[:100].lower(), known, 1)
    return f"is not {what}{there_are}{f'; did you mean `{meant[0]}`?' if meant else ''}"


def _other_than(wanted: str, given: Any) -> str:
    called = _called(given)
    return f"must be {wanted}, not {called}" if called else f"must be {wanted}"


def _called(given: Any) -> str | None:
    """Return what JSON calls a value, None where it has no word for it."""
    match given:
        case None | True | False:
            return {None: "null", True: "true", False: "false"}[given]
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
    return None


def _too_short_or_long(given: Any, context: Mapping[str, Any]) -> str:
    what = "characters" if isinstance(given, str) else "items"
    count = len(given) if isinstance(given, str | list | tuple) else context.get("actual_length")
    if "max_length" in context:
        return f"has {count or 'too many'} {what}; at most {context['max_length']} are taken"
    least = context["min_length"]
    return f"is empty, and takes at least 1 {what[:-1]}" if least == 1 else f"needs at least {least} {what}"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _walk(kind: Any, place: Sequence[str | int]) -> tuple[list[str | int], Any]:
    """Return the path to a place in what is of a kind, and the kind that is wanted there, `Any` where none is known.

    The tags by which pydantic tells the parts of a union apart are no part of the path.
    """
    path: list[str | int] = []
    for part in place:
        options = list(_options(kind))
        tagged = [option for tag, option in options if tag == part]
        if tagged:
            kind = tagged[0]
        else:
            name, kind = next((found for _, option in options if (found := _within(option, part))), (part, Any))
            path.append(name)
    return path, kind


def _options(kind: Any, tag: str | None = None) -> Iterator[tuple[str | None, Any]]:
    """Yield the types of which what is of a kind may be, each with its tag in a union."""
    if get_origin(kind) is Annotated:
        kind, *notes = get_args(kind)
        yield from _options(kind, next((note.tag for note in notes if isinstance(note, Tag)), tag))
    elif get_origin(kind) in (Union, UnionType):
        for option in get_args(kind):
            yield from _options(option)
    else:
        yield tag, kind


def _within(kind: Any, part: str | int) -> tuple[str | int, Any] | None:
    """Return the name and the kind of a part of what is of a kind, None where it has no such part."""
    if fields := _fields(kind):
        # What is made of a list has its fields in order.
        name = list(fields)[part] if isinstance(part, int) and part < len(fields) else part
        return (name, fields[name]) if name in fields else None
    if kinds := get_args(kind):
        return part, kinds[-1] if isinstance(part, str) else kinds[0]
    return None


def _fields(kind: Any) -> dict[str, Any]:
    """Return the kinds of the fields of a record, by their names in JSON; none of what is no record."""
    return {
        name: wanted
        for _, option in _options(kind)
        if isinstance(option, type)
        for name, wanted in _fields_of_class(option).items()
    }


@cache
def _fields_of_class(kind: type) -> dict[str, Any]:
    if issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {}
