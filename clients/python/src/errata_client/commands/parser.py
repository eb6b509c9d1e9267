"""The parser of the command line, made of the nouns and their verbs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from errata_client.commands.command import EXIT_CODES, Argument, Command, Noun

DESCRIPTION = """\
Correct facts inside a language model that an Errata service runs.

A noun says what a command is about, its verb what is done: `versions diff 3 4`. A noun alone lists.
Where a VERSION is asked for, it may be a number, a name such as production, base, active or previous.
"""
ENVIRONMENT = """\
where the service is and the API key come from the flags, else from ERRATA_URL and ERRATA_API_KEY,
else from a profile of ~/.config/errata/client.toml (ERRATA_CLIENT_CONFIG names another file):

  [profiles.default]
  url = "http://127.0.0.1:8000"

  [profiles.production]
  url = "https://errata.example.org"
  key = "…"
"""
ANYWHERE = (
    Argument(("--url",), {"help": "where the service is", "metavar": "URL"}),
    Argument(("--api-key",), {"help": "the API key; other users of this machine can see it here", "metavar": "KEY"}),
    Argument(("--profile",), {"help": "the profile of the configuration file (default)", "metavar": "NAME"}),
    Argument(("--json",), {"help": "write JSON: one document, of a list one on each line", "action": "store_true"}),
)
"""Options that stand before or after the command."""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are told in one line, with the command that helps."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"errata-client: {message}; see {self.prog} --help\n")


def parser_of(
    nouns: Sequence[Noun], shorts: Sequence[Command], version: type[argparse.Action], meant: str | None = None
) -> Parser:
    """Return the parser. What it reads has `command`, the command that is meant, and `usage_error` to refuse more.

    Where the noun or command that is `meant` is known, only its arguments are read: to know all takes its time.
    """
    parser = Parser(
        prog="errata-client",
        description=DESCRIPTION,
        epilog=f"{EXIT_CODES}\n{ENVIRONMENT}",
        parents=[_options_anywhere()],
    )
    parser.add_argument("--version", action=version, nargs=0, help="show the version of this program")
    parser.set_defaults(url=None, api_key=None, profile=None, json=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for short in shorts:
        _add(commands, short, with_arguments=meant in (None, short.name))
    for noun in nouns:
        subparser = commands.add_parser(noun.name, help=noun.does, description=noun.does)
        verbs = subparser.add_subparsers(required=True, metavar="VERB", parser_class=Parser)
        for verb in noun.verbs if meant in (None, noun.name) else ():
            _add(verbs, verb)
    return parser


def _add(commands: Any, command: Command, *, with_arguments: bool = True) -> None:
    parents = [_options_anywhere()] if with_arguments else []
    subparser = commands.add_parser(command.name, help=command.does, description=command.does, parents=parents)
    for argument in command.arguments if with_arguments else ():
        subparser.add_argument(*argument.names, **argument.settings)
    subparser.set_defaults(command=command, usage_error=subparser.error)


def _options_anywhere() -> argparse.ArgumentParser:
    """Return the options that stand before or after the command; suppressed, the second do not undo the first."""
    options = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    for option in ANYWHERE:
        options.add_argument(*option.names, **option.settings)
    return options
