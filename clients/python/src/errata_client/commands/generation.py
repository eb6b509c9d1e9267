"""`generate` and `chat`: continuing prompts and talking with the model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from errata_client.commands.command import argument, command, options_of, version_option
from errata_client.commands.output import say, show
from errata_client.formatting.generation import format_generation
from errata_client.options import GenerationSettings
from errata_client.tables import escaped

if TYPE_CHECKING:
    from errata_client.client import Errata
    from errata_client.generation import GenerationEvent

SETTINGS = (
    version_option("not the active version"),
    argument(
        "--max-new-tokens", type=int, metavar="N", help="the longest completion (32; in a chat, its turn ends it)"
    ),
    argument("--temperature", type=float, metavar="T", help="from 0, which is greedy and the default, to 2"),
    argument("--top-p", type=float, metavar="P", help="choose among the likeliest tokens of this probability together"),
    argument("--top-k", type=int, metavar="K", help="choose among that many of the likeliest tokens"),
    argument(
        "--repetition-penalty", type=float, metavar="R", help="above 1, what is there already becomes less likely"
    ),
    argument("--seed", type=int, metavar="SEED", help="each prompt's own draws begin from it"),
    argument("--stop", action="append", metavar="TEXT", help="end before this text; repeatable"),
)


@command(
    "continue prompts",
    argument("prompts", nargs="+", metavar="PROMPT", help="- for one from stdin"),
    *SETTINGS,
    argument("--stream", action="store_true", help="write the text of a single prompt as it comes"),
)
def generate(client: Errata, arguments: argparse.Namespace) -> None:
    settings = options_of(arguments, GenerationSettings)
    prompts = [_from_stdin(arguments, prompt, "PROMPT") for prompt in arguments.prompts]
    if not arguments.stream:
        show(arguments, client.generate(prompts, **settings), format_generation)
        return
    if len(prompts) > 1:
        arguments.usage_error("--stream continues a single PROMPT")
    _show_as_it_comes(client.stream(prompts[0], **settings), as_json=arguments.json)


@command(
    "talk with the model, through its chat template",
    argument("message", nargs="?", metavar="MESSAGE", help="- for stdin; without it, on a terminal, line after line"),
    argument("--system", metavar="TEXT", help="what the model is told before"),
    *SETTINGS,
)
def chat(client: Errata, arguments: argparse.Namespace) -> None:
    told = [] if arguments.system is None else [("system", arguments.system)]
    if arguments.message is None and sys.stdin.isatty():
        _converse(client, arguments, told)
        return
    message = _from_stdin(arguments, arguments.message or "-", "MESSAGE")
    _answer(client, arguments, [*told, ("user", message)])


def _from_stdin(arguments: argparse.Namespace, text: str, what: str) -> str:
    """Return a text, for which a dash stands where it is read from stdin."""
    if text != "-":
        return text
    text = sys.stdin.read().removesuffix("\n")
    if not text:
        arguments.usage_error(f"a {what} is needed, and stdin is empty")
    return text


class _Said(NamedTuple):
    text: str
    version: int


def _converse(client: Errata, arguments: argparse.Namespace, conversation: list[tuple[str, str]]) -> None:
    """Answer each line, with all that was said before, until there are no more.

    What could not be answered is told and forgotten, unless it was the first: then no other would be answered either.
    """
    from errata_client.errors import ErrataError

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
        generation = client.chat(conversation, **options_of(arguments, GenerationSettings))
        show(arguments, generation, format_generation)
        return _Said(generation.text, generation.version)
    with closing(client.stream_chat(conversation, **options_of(arguments, GenerationSettings))) as events:
        return _show_as_it_comes(events, as_json=False)


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
