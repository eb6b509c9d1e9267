"""The command that continues prompts."""

import argparse
from collections.abc import Iterable

from errata_client.client import Errata
from errata_client.commands.command import AddCommand, Exit
from errata_client.commands.output import show
from errata_client.generation import GenerationEvent
from errata_client.routes import GenerationSettings
from errata_client.tables import escaped
from errata_client.views import generation_view


def add_commands(add: AddCommand) -> None:
    """`generate`."""
    generate = add("generate", _generate, "continue prompts")
    generate.add_argument("prompts", nargs="+", metavar="PROMPT")
    generate.add_argument("--version", type=_number_or_name, metavar="N|NAME|base", help="not the active version")
    generate.add_argument("--max-new-tokens", type=int, metavar="N")
    generate.add_argument("--stream", action="store_true", help="write the text of a single prompt as it comes")


def _generate(client: Errata, arguments: argparse.Namespace) -> Exit:
    settings: GenerationSettings = {"version": arguments.version, "max_new_tokens": arguments.max_new_tokens}
    if not arguments.stream:
        show(arguments, client.generate(arguments.prompts, **settings), generation_view)
        return Exit.DONE
    if len(arguments.prompts) > 1:
        arguments.usage_error("--stream continues a single PROMPT")
    _show_as_it_comes(arguments, client.stream(arguments.prompts[0], **settings))
    return Exit.DONE


def _show_as_it_comes(arguments: argparse.Namespace, events: Iterable[GenerationEvent]) -> None:
    begun = False
    try:
        for event in events:
            begun = True
            if arguments.json:
                print(event.model_dump_json(), flush=True)
            else:
                print(escaped(event.text, but="\n\t"), end="", flush=True)
    finally:
        if begun and not arguments.json:
            print()  # What is said of an error begins on a line of its own.


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
