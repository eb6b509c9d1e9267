"""The command that continues prompts."""

import argparse
from collections.abc import Iterable

from errata_client.client import Errata
from errata_client.commands.command import argument, command
from errata_client.commands.output import show
from errata_client.formatting import format_generation
from errata_client.generation import GenerationEvent
from errata_client.options import GenerationSettings
from errata_client.tables import escaped


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


@command(
    "continue prompts",
    argument("prompts", nargs="+", metavar="PROMPT"),
    argument("--version", type=_number_or_name, metavar="N|NAME|base", help="not the active version"),
    argument("--max-new-tokens", type=int, metavar="N"),
    argument("--stream", action="store_true", help="write the text of a single prompt as it comes"),
)
def generate(client: Errata, arguments: argparse.Namespace) -> None:
    settings: GenerationSettings = {"version": arguments.version, "max_new_tokens": arguments.max_new_tokens}
    if not arguments.stream:
        show(arguments, client.generate(arguments.prompts, **settings), format_generation)
        return
    if len(arguments.prompts) > 1:
        arguments.usage_error("--stream continues a single PROMPT")
    _show_as_it_comes(arguments, client.stream(arguments.prompts[0], **settings))


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
