"""The command line `errata-client`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from errata_client.commands import (
    aliases,
    edits,
    evaluations,
    facts,
    generation,
    keys,
    probes,
    service,
    traces,
    versions,
    workers,
)
from errata_client.commands.command import Command, Exit, argument
from errata_client.commands.output import say, say_each, say_problems
from errata_client.commands.parser import Parser, parser_of
from errata_client.commands.spelling import no_such_argument, spelled

if TYPE_CHECKING:
    from errata_client.errors import ErrataError

SHELLS = ("bash", "zsh", "fish")
EDIT = Command("edit", edits.submit.does, edits.submit.arguments, edits.submit.run)
COMPLETION = Command(
    "completion",
    "write the script with which a shell completes these commands",
    (argument("shell", choices=SHELLS),),
    lambda client, arguments: None,
)
SHORTS = (EDIT, generation.generate, generation.chat, service.status, service.model, COMPLETION)
NOUNS = (
    *(edits.EDITS, facts.FACTS, versions.VERSIONS, aliases.ALIASES, probes.PROBES),
    *(evaluations.EVALUATIONS, traces.TRACES, workers.WORKERS, keys.KEYS),
)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        parser.exit(0, f"errata-client {version('errata-client')}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code."""
    typed = spelled(sys.argv[1:] if argv is None else argv, NOUNS, SHORTS)
    is_of_all = typed.begins_with == COMPLETION.name
    parser = parser_of(NOUNS, SHORTS, _Version, None if is_of_all else typed.begins_with)
    if typed.mistake:
        parser.error(typed.mistake)
    arguments, unknown = parser.parse_known_args(typed.arguments)
    if unknown:
        arguments.usage_error(no_such_argument(unknown[0], arguments.command))
    if typed.hint:
        say(typed.hint)
    if arguments.command is COMPLETION:
        from errata_client.commands.completion import script

        print(script(parser, arguments.shell), end="")
        return Exit.DONE
    try:
        return _run(parser, arguments)
    except BrokenPipeError:
        # What is left cannot be written; Python would try at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.BROKEN_PIPE
    except KeyboardInterrupt:
        say("interrupted")
        return Exit.INTERRUPTED


def _run(parser: Parser, arguments: argparse.Namespace) -> int:
    """Run a command, whose arguments are good. Only now are httpx and pydantic imported."""
    from errata_client.commands.profiles import BadConfiguration, service_of

    try:
        where = service_of(arguments.url, arguments.api_key, arguments.profile, os.environ)
    except BadConfiguration as error:
        parser.error(str(error))
    if where.note:
        say(where.note)
    from errata_client.client import DEFAULT_URL, Errata
    from errata_client.errors import ErrataError

    try:
        client = Errata(where.url or DEFAULT_URL, where.api_key)
    except ValueError as error:
        parser.error(str(error))
    try:
        with client:
            code = arguments.command.run(client, arguments) or Exit.DONE
            sys.stdout.flush()
            return int(code)
    except ErrataError as error:
        return _report(arguments, error)
    except BrokenPipeError:
        raise
    except OSError as error:
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Exit.USAGE


def _report(arguments: argparse.Namespace, error: ErrataError) -> Exit:
    """Say what went wrong, and return the exit code for it."""
    from errata_client.errors import InvalidFacts, StatusError

    match error:
        case InvalidFacts():
            say_each([str(problem) for problem in error.problems])
            return Exit.USAGE
        case StatusError():
            say_problems(arguments, error)
            return Exit.REFUSED
    say(str(error))
    return Exit.NO_CONNECTION


if __name__ == "__main__":
    sys.exit(main())
