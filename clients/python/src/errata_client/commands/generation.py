"""The commands that continue prompts and talk with the model."""

import argparse
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import NamedTuple

from errata_client.client import Errata
from errata_client.commands.command import argument, command
from errata_client.commands.output import say, show
from errata_client.errors import ErrataError
from errata_client.formatting import format_generation
from errata_client.generation import GenerationEvent
from errata_client.options import GenerationSettings
from errata_client.tables import escaped


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


VERSION = argument("--version", type=_number_or_name, metavar="N|NAME|base", help="not the active version")
MAX_NEW_TOKENS = argument("--max-new-tokens", type=int, metavar="N")


@command(
    "continue prompts",
    argument("prompts", nargs="+", metavar="PROMPT"),
    VERSION,
    MAX_NEW_TOKENS,
    argument("--stream", action="store_true", help="write the text of a single prompt as it comes"),
)
def generate(client: Errata, arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)
    if not arguments.stream:
        show(arguments, client.generate(arguments.prompts, **settings), format_generation)
        return
    if len(arguments.prompts) > 1:
        arguments.usage_error("--stream continues a single PROMPT")
    _show_as_it_comes(client.stream(arguments.prompts[0], **settings), as_json=arguments.json)


@command(
    "talk with the model, through its chat template",
    argument("message", nargs="?", metavar="MESSAGE", help="without it, stdin; on a terminal, line after line"),
    argument("--system", metavar="TEXT", help="what the model is told before"),
    VERSION,
    MAX_NEW_TOKENS,
)
def chat(client: Errata, arguments: argparse.Namespace) -> None:
    told = [] if arguments.system is None else [("system", arguments.system)]
    if arguments.message is None and sys.stdin.isatty():
        _converse(client, arguments, told)
        return
    message = sys.stdin.read().removesuffix("\n") if arguments.message is None else arguments.message
    if not message:
        arguments.usage_error("a MESSAGE is needed")
    _answer(client, arguments, [*told, ("user", message)])


class _Said(NamedTuple):
    text: str
    version: int


def _converse(client: Errata, arguments: argparse.Namespace, conversation: list[tuple[str, str]]) -> None:
    """Answer each line, with all that was said before, until there are no more.

    What could not be answered is told and forgotten, unless it was the first: then no other would be answered either.
    """
    with suppress(ImportError):
        import readline  # noqa: F401 - lines can be edited, and come back
    version = None
    while True:
        try:
            line = input("> ")
        except EOFError:
            print()
            return
        if not line.strip():
            continue
        asked = [*conversation, ("user", line)]
        try:
            said = _answer(client, arguments, asked)
        except (ErrataError, KeyboardInterrupt) as error:
            if version is None:
                raise
            say(str(error) or "interrupted")
            continue
        conversation = [*asked, ("assistant", said.text)]
        if said.version != version:
            version = said.version
            say(f"version {version} answers")


def _answer(client: Errata, arguments: argparse.Namespace, conversation: list[tuple[str, str]]) -> _Said:
    """Write the answer to a conversation, as it comes unless it is to be JSON."""
    if arguments.json:
        generation = client.chat(conversation, **_settings(arguments))
        show(arguments, generation, format_generation)
        return _Said(generation.text, generation.version)
    with closing(client.stream_chat(conversation, **_settings(arguments))) as events:
        return _show_as_it_comes(events, as_json=False)


def _settings(arguments: argparse.Namespace) -> GenerationSettings:
    return {"version": arguments.version, "max_new_tokens": arguments.max_new_tokens}


def _show_as_it_comes(events: Iterable[GenerationEvent], *, as_json: bool) -> _Said:
    said = None
    try:
        for event in events:
            said = _Said((said.text if said else "") + event.text, event.version)
            if as_json:
                print(event.model_dump_json(), flush=True)
            else:
                print(escaped(event.text, but="\n\t"), end="", flush=True)
    finally:
        if said is not None and not as_json:
            print()  # What is said of an error begins on a line of its own.
    assert said is not None  # a generation that is not broken off ends with an event
    return said
