"""What a command is: a noun and its verb, with its arguments, what it does, and how it ends."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from errata_client.client import Errata

EXIT_CODES = """\
exit codes:
  0    done
  1    the job ended without what was asked: it was rejected, failed or was cancelled, some of its facts are not said,
       or facts that were checked are at fault
  2    given wrongly on the command line, or a file that cannot be read or written: nothing was changed
  3    the service refused the request or failed at it (4xx, 5xx)
  4    no connection, or no answer of an Errata service
  130  interrupted; a job that was waited for goes on
  141  nobody reads the output any more
"""
VERSION_NAME = re.compile(r"[0-9]{1,15}|[A-Za-z][A-Za-z0-9_-]{0,63}")


class Exit(IntEnum):
    """What the command's exit code says."""

    DONE = 0
    NOT_AS_ASKED = 1
    USAGE = 2
    REFUSED = 3
    NO_CONNECTION = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


Options = TypeVar("Options")
Run: TypeAlias = "Callable[[Errata, argparse.Namespace], Exit | None]"


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a command, as argparse takes it."""

    names: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def flag(self) -> str:
        """What the user knows it by."""
        return self.names[-1] if self.names[-1].startswith("-") else str(self.settings.get("metavar", self.names[-1]))

    @property
    def field(self) -> str:
        """What it is called in what is read, and mostly in what is sent."""
        return str(self.settings.get("dest", self.names[-1].lstrip("-").replace("-", "_")))


@dataclass(frozen=True, slots=True)
class Command:
    """A command; `run` returns None where it is done."""

    name: str
    does: str
    arguments: tuple[Argument, ...]
    run: Run


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of thing, and what can be done with it."""

    name: str
    does: str
    verbs: tuple[Command, ...]


def argument(*names: str, **settings: Any) -> Argument:
    """Describe an argument, with what `argparse.ArgumentParser.add_argument` takes."""
    return Argument(names, settings)


def command(does: str, *arguments: Argument) -> Callable[[Run], Command]:
    """Make a function the command of its name, with these arguments. An underscore keeps it apart from Python's own."""
    return lambda run: Command(run.__name__.rstrip("_"), does, arguments, run)


def options_of(arguments: argparse.Namespace, kind: type[Options]) -> Options:
    """Return the options that the flags of the same names say."""
    given = vars(arguments)
    return cast(Options, {name: given[name] for name in kind.__annotations__ if name in given})


def version_name(text: str) -> int | str:
    """Read a version, which the service finds: a number, a name, or base, active or previous."""
    if not VERSION_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no version: give a number, a name, base, active or previous")
    return int(text) if text.isdecimal() else text


def version_option(does: str, flag: str = "--version") -> Argument:
    """Describe the option that names a version."""
    return argument(flag, type=version_name, metavar="VERSION", help=does)


VERSION = argument(
    "version",
    type=version_name,
    metavar="VERSION",
    help="a number, a name such as production, base, active or previous",
)


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
