"""What a command writes: what was asked for to stdout, as text or as JSON, and what else is to be said to stderr."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel

from errata_client.tables import cell

R = TypeVar("R", bound=BaseModel)

MOST_PROBLEMS_SHOWN = 20


def show(arguments: argparse.Namespace, record: R, format: Callable[[R], str]) -> None:
    """Write a record."""
    print(record.model_dump_json() if arguments.json else format(record))


def show_all(arguments: argparse.Namespace, records: Iterable[R], format: Callable[[Iterable[R]], str]) -> None:
    """Write a list of records."""
    if arguments.json:
        print(json.dumps([record.model_dump(mode="json") for record in records]))
    else:
        print(format(records))


def say(message: str) -> None:
    """Tell something on a line of its own."""
    print(f"errata-client: {cell(message)}", file=sys.stderr)


def say_each(messages: Sequence[str]) -> None:
    """Tell the first of many things, and how many more there are."""
    for message in messages[:MOST_PROBLEMS_SHOWN]:
        say(message)
    if len(messages) > MOST_PROBLEMS_SHOWN:
        say(f"and {len(messages) - MOST_PROBLEMS_SHOWN} more")


def place_of(pointer: str, places: Mapping[str, str]) -> str:
    """Return where the user finds what a JSON pointer into the request points at.

    `places` has it under the pointer to a whole entry of a list.
    """
    found = re.fullmatch(r"(/\w+/\d+)/?(.*)", pointer)
    if not found or found[1] not in places:
        return pointer
    return places[found[1]] + (f", {found[2]}" if found[2] else "")
