"""What a command writes: what was asked for to stdout, as text or as JSON, and what else is to be said to stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from errata_client.tables import Look, cell, look_of

if TYPE_CHECKING:
    import argparse

    from pydantic import BaseModel

    from errata_client.commands.command import Command
    from errata_client.errors import StatusError

R = TypeVar("R", bound="BaseModel")

MOST_PROBLEMS_SHOWN = 20


def show(arguments: argparse.Namespace, record: R, format: Callable[[R, Look], str]) -> None:
    """Write a record, with `--json` as one document."""
    print(record.model_dump_json() if arguments.json else format(record, look_of(sys.stdout)), flush=True)


def show_all(arguments: argparse.Namespace, records: Iterable[R], format: Callable[[Iterable[R], Look], str]) -> None:
    """Write a list of records, with `--json` a document on each line, as they come."""
    if not arguments.json:
        print(format(records, look_of(sys.stdout)), flush=True)
        return
    for record in records:
        print(record.model_dump_json(), flush=True)


def show_document(arguments: argparse.Namespace, text: str, **document: Any) -> None:
    """Write what is no record: a line of text, with `--json` a document."""
    print(json.dumps(document) if arguments.json else cell(text), flush=True)


def say(message: str) -> None:
    """Tell something on a line of its own."""
    print(f"errata-client: {cell(message)}", file=sys.stderr)


def say_each(messages: Sequence[str]) -> None:
    """Tell the first of many things, and how many more there are."""
    for message in messages[:MOST_PROBLEMS_SHOWN]:
        say(message)
    if len(messages) > MOST_PROBLEMS_SHOWN:
        say(f"and {len(messages) - MOST_PROBLEMS_SHOWN} more")


def agrees(arguments: argparse.Namespace, what: str) -> bool:
    """Return True where what destroys something may be done: with `--yes`, or after a "y" on the terminal."""
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        arguments.usage_error(f"to {what}, give --yes: there is no terminal to ask on")
    print(f"{what}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("nothing was changed")
    return False


def say_problems(arguments: argparse.Namespace, error: StatusError, places: Mapping[str, str] = {}) -> None:
    """Tell what the service refuses: each fault by the place where the user finds it, or all in a sentence.

    `places` has what stands where under its JSON pointer into the request, or that of a whole entry of a list.
    """
    found = [_place_of(problem.pointer, places, arguments.command) for problem in error.problems]
    if not any(found):
        say(str(error))
        return
    told = [(at or one.pointer or "the request", one) for at, one in zip(found, error.problems, strict=True)]
    say_each(
        [problem.detail if problem.detail.startswith(f"{at} ") else f"{at}: {problem.detail}" for at, problem in told]
    )


def _place_of(pointer: str, places: Mapping[str, str], command: Command) -> str | None:
    if pointer in places:
        return places[pointer]
    found = re.fullmatch(r"(/\w+/\d+)/?(.*)", pointer)
    if found and found[1] in places:
        return places[found[1]] + (f", {found[2]}" if found[2] else "")
    field, *within = pointer.removeprefix("/").split("/")
    flag = next((argument.flag for argument in command.arguments if argument.field == field), None)
    return flag and " ".join([flag, *within])
