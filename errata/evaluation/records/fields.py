"""The fields of one record, read with all that is wrong noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from errata.errors import FactProblem
from errata.facts import PLACEHOLDER, places_of, trimmed

_MISSING = object()


class Fields:
    """Reads the fields of one record. What is missing or wrong is noted once and read as empty."""

    def __init__(self, index: int, record: Any, within: str = "", problems: list[FactProblem] | None = None) -> None:
        """Take what stands `within` a field of the record at `index`; by default all of the record."""
        self.record = record
        self.problems: list[FactProblem] = [] if problems is None else problems
        self._index = index
        self._within = within

    def part(self, item: Any, field: str) -> Fields:
        """Return the fields of an item that stands in one."""
        return Fields(self._index, item, field, self.problems)

    def complain(self, field: str, detail: str) -> None:
        """Note what is wrong with a field."""
        if self._within:
            field = self._within if field == "record" else f"{self._within}.{field}"
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
            self.complain(name, f"is {described(value)}, not a list")
        return []

    def checked_text(self, value: Any, field: str) -> str:
        """Return a value trimmed, or note that it is not text or is blank."""
        if isinstance(value, str) and (text := trimmed(value)):
            return text
        if value is not _MISSING:
            self.complain(field, "is blank" if isinstance(value, str) else f"is {described(value)}, not text")
        return ""

    def _texts(self, name: str) -> tuple[str, ...]:
        return tuple(self.checked_text(item, f"{name}[{place}]") for place, item in enumerate(self.items(name)))

    def _value(self, path: Sequence[str]) -> Any:
        value = self.record
        for depth, name in enumerate(path):
            if not isinstance(value, Mapping):
                self.complain(".".join(path[:depth]) or "record", f"is {described(value)}, not an object")
                return _MISSING
            if name not in value:
                self.complain(".".join(path[: depth + 1]), "is missing")
                return _MISSING
            value = value[name]
        return value


def described(value: Any) -> str:
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
