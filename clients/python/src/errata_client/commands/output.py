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


def place_of(pointer: str, places: Mapping[str, str]) -> str:
    """Return where the user finds what a JSON pointer into the request points at.

    `places` has it under the pointer to a whole entry of a list.
    """
    found = re.fullmatch(r"(/\w+/\d+)/?(.*)", pointer)
    if not found or found[1] not in places:
        return pointer
    return places[found[1]] + (f", {found[2]}" if found[2] else "")
