"""What a command is: its arguments, what it does, and how it ends."""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias, TypeVar, cast

from errata_client.client import Errata

EXIT_CODES = """\
exit codes:
  0    done
  1    the edit failed, was rejected by its gate or was cancelled; or an evaluation or a trace was
  2    wrong usage, or a file that cannot be read or written: nothing was changed
  3    the service refused the request (4xx)
  4    the service failed (5xx), could not be reached or did not answer as agreed
  130  interrupted; an edit that was waited for goes on
"""


class Exit(IntEnum):
    """What the command's exit code says."""

    DONE = 0
    NO_EDIT = 1
    USAGE = 2
    REFUSED = 3
    NO_SERVICE = 4
    INTERRUPTED = 130


Options = TypeVar("Options")
Run: TypeAlias = Callable[[Errata, argparse.Namespace], Exit | None]


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a command, as argparse takes it."""

    names: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Command:
    """A command; `run` returns None where it is done."""

    name: str
    does: str
    arguments: tuple[Argument, ...]
    run: Run


def argument(*names: str, **settings: Any) -> Argument:
    """Describe an argument, with what `argparse.ArgumentParser.add_argument` takes."""
    return Argument(names, settings)


def command(does: str, *arguments: Argument) -> Callable[[Run], Command]:
    """Make a function the command of its name, with these arguments."""
    return lambda run: Command(run.__name__, does, arguments, run)


def options_of(arguments: argparse.Namespace, kind: type[Options]) -> Options:
    """Return the options that the flags of the same names say."""
    given = vars(arguments)
    return cast(Options, {name: given[name] for name in kind.__annotations__ if name in given})


class NamedValues(argparse.Action):
    """Collects the values of a flag that may be repeated, each NAME=VALUE, by their names."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(default={}, metavar="NAME=VALUE", type=_named_value, **settings)

    def __call__(self, parser: object, namespace: argparse.Namespace, values: Any, option: object = None) -> None:
        name, value = values
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), name: value})


def _named_value(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE with a number") from None
