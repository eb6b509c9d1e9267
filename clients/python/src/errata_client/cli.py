"""The command line `errata-client`."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from errata_client.client import DEFAULT_URL, Errata
from errata_client.errors import (
    EditError,
    ErrataError,
    InvalidFacts,
    ServerError,
    StatusError,
    Unprocessable,
    edit_error,
)
from errata_client.events import LogEvent, ProgressEvent, StatusEvent
from errata_client.fact_files import Place, read_placed_facts
from errata_client.facts import FactInput
from errata_client.generation import GenerationEvent
from errata_client.models import EditRecord, Record
from errata_client.progress import ProgressBar
from errata_client.routes import GenerationSettings
from errata_client.tables import cell, escaped
from errata_client.views import (
    activation_view,
    edit_view,
    facts_view,
    generation_view,
    version_view,
    versions_view,
)

R = TypeVar("R", bound=Record)

MOST_PROBLEMS_SHOWN = 20

EXIT_CODES = """\
exit codes:
  0    done
  1    the edit failed, was rejected by its gate or was cancelled
  2    wrong usage, or a fact file that cannot be read: nothing was sent
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


Command: TypeAlias = Callable[[Errata, argparse.Namespace], Exit]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        client = Errata(arguments.url, arguments.api_key)
    except ValueError as error:
        parser.error(str(error))
    command: Command = arguments.command
    try:
        with client:
            return command(client, arguments)
    except ErrataError as error:
        return _report(error)
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Exit.USAGE
    except KeyboardInterrupt:
        _say("interrupted")
        return Exit.INTERRUPTED


def _edit(client: Errata, arguments: argparse.Namespace) -> Exit:
    facts, places = _facts_to_send(arguments)
    try:
        edit = client.edit(facts, activate=arguments.activate)
    except Unprocessable as error:
        if not error.problems:
            raise
        _say_each([f"{_place(p.pointer, arguments.file, places)}: {p.detail}" for p in error.problems])
        return Exit.REFUSED
    if not arguments.wait:
        _show(arguments, edit, edit_view)
        return Exit.DONE
    try:
        edit = edit.wait()
    except EditError as error:
        _show(arguments, error.edit, edit_view)
        raise
    except KeyboardInterrupt:
        _say(f"interrupted; the edit goes on: errata-client watch {edit.id}")
        return Exit.INTERRUPTED
    _show(arguments, edit, edit_view)
    return Exit.DONE


def _generate(client: Errata, arguments: argparse.Namespace) -> Exit:
    settings: GenerationSettings = {"version": arguments.version, "max_new_tokens": arguments.max_new_tokens}
    if not arguments.stream:
        _show(arguments, client.generate(arguments.prompts, **settings), generation_view)
        return Exit.DONE
    if len(arguments.prompts) > 1:
        arguments.usage_error("--stream continues a single PROMPT")
    _show_as_it_comes(arguments, client.stream(arguments.prompts[0], **settings))
    return Exit.DONE


def _versions(client: Errata, arguments: argparse.Namespace) -> Exit:
    _show_all(arguments, client.versions(), versions_view)
    return Exit.DONE


def _version(client: Errata, arguments: argparse.Namespace) -> Exit:
    _show(arguments, client.version(arguments.number), version_view)
    return Exit.DONE


def _activate(client: Errata, arguments: argparse.Namespace) -> Exit:
    _show(arguments, client.activate(arguments.number), activation_view)
    return Exit.DONE


def _rollback(client: Errata, arguments: argparse.Namespace) -> Exit:
    _show(arguments, client.rollback(arguments.to), activation_view)
    return Exit.DONE


def _facts(client: Errata, arguments: argparse.Namespace) -> Exit:
    facts = client.facts(arguments.subject, arguments.relation, arguments.version)
    _show_all(arguments, facts, facts_view)
    return Exit.DONE


def _cancel(client: Errata, arguments: argparse.Namespace) -> Exit:
    _show(arguments, client.cancel(arguments.edit_id), edit_view)
    return Exit.DONE


def _watch(client: Errata, arguments: argparse.Namespace) -> Exit:
    edit: EditRecord = client.get_edit(arguments.edit_id)
    bar = ProgressBar()
    try:
        for event in client.events(edit.id):
            if arguments.json:
                print(event.model_dump_json(), flush=True)
            match event:
                case ProgressEvent():
                    edit = edit.model_copy(update={"status": "running", "progress": event.progress})
                    bar.show(edit)
                case StatusEvent():
                    edit = event.edit
                    bar.show(edit)
                case LogEvent():
                    bar.write(f"{event.level}: {event.message}")
    finally:
        bar.close()
    if not arguments.json:
        print(edit_view(edit))
    error = edit_error(edit)
    if error:
        raise error
    return Exit.DONE


def _facts_to_send(arguments: argparse.Namespace) -> tuple[list[FactInput], list[Place]]:
    """The facts, and where each stands if they come from a file."""
    parts = (arguments.subject, arguments.relation, arguments.object)
    if arguments.file is None and None not in parts:
        return [parts], []
    if arguments.file is None or parts != (None, None, None):
        arguments.usage_error("give either a FILE, or --subject, --relation and --object")
    by_place = read_placed_facts(arguments.file)
    return list(by_place.values()), list(by_place)


def _place(pointer: str, file: Path | None, places: Sequence[Place]) -> str:
    """Where the user finds what a JSON pointer into the request points at."""
    found = re.fullmatch(r"/facts/(\d+)/?(.*)", pointer)
    if not found or not places:
        return pointer
    field = f", {found[2]}" if found[2] else ""
    return f"{file}, {places[int(found[1])]}{field}"


def _show(arguments: argparse.Namespace, record: R, view: Callable[[R], str]) -> None:
    print(record.model_dump_json() if arguments.json else view(record))


def _show_all(arguments: argparse.Namespace, records: Iterable[R], view: Callable[[Iterable[R]], str]) -> None:
    if arguments.json:
        print(json.dumps([record.model_dump(mode="json") for record in records]))
    else:
        print(view(records))


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


def _report(error: ErrataError) -> Exit:
    """Say what went wrong; the exit code for it."""
    match error:
        case InvalidFacts():
            _say_each([str(problem) for problem in error.problems])
            return Exit.USAGE
        case EditError():
            code = Exit.NO_EDIT
        case ServerError():
            code = Exit.NO_SERVICE
        case StatusError():
            code = Exit.REFUSED
        case _:
            code = Exit.NO_SERVICE
    _say(str(error))
    return code


def _say_each(messages: Sequence[str]) -> None:
    for message in messages[:MOST_PROBLEMS_SHOWN]:
        _say(message)
    if len(messages) > MOST_PROBLEMS_SHOWN:
        _say(f"and {len(messages) - MOST_PROBLEMS_SHOWN} more")


def _say(message: str) -> None:
    print(f"errata-client: {cell(message)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="errata-client",
        description="Correct facts inside a language model that an Errata service runs.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_options_anywhere()],
    )
    # An empty variable is one that was not set.
    parser.set_defaults(
        url=os.environ.get("ERRATA_URL") or DEFAULT_URL,
        api_key=os.environ.get("ERRATA_API_KEY") or None,
        json=False,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Command, does: str) -> argparse.ArgumentParser:
        of_command = commands.add_parser(name, help=does, description=does, parents=[_options_anywhere()])
        of_command.set_defaults(command=command, usage_error=of_command.error)
        return of_command

    edit = add("edit", _edit, "put facts into the model, from a file or from flags")
    edit.add_argument("file", nargs="?", type=Path, metavar="FILE", help="facts as .jsonl, .json or .csv")
    for part in ("subject", "relation", "object"):
        edit.add_argument(f"--{part}", help=f"the {part} of a single fact")
    edit.add_argument("--no-activate", dest="activate", action="store_false", help="build, but do not serve it")
    edit.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until it ends (default)"
    )

    generate = add("generate", _generate, "continue prompts")
    generate.add_argument("prompts", nargs="+", metavar="PROMPT")
    generate.add_argument("--version", type=_version_or_base, metavar="N|base", help="not the active version")
    generate.add_argument("--max-new-tokens", type=int, metavar="N")
    generate.add_argument("--stream", action="store_true", help="write the text of a single prompt as it comes")

    add("versions", _versions, "list the versions")
    add("version", _version, "show one version").add_argument("number", type=int, metavar="N")
    add("activate", _activate, "serve a version").add_argument("number", type=int, metavar="N")
    rollback = add("rollback", _rollback, "serve the version that was active before")
    rollback.add_argument("--to", type=int, metavar="N", help="serve this version; 0 is the base model")

    facts = add("facts", _facts, "list the facts of the active version")
    facts.add_argument("--subject")
    facts.add_argument("--relation")
    facts.add_argument("--version", type=int, metavar="N", help="not the active version")

    add("watch", _watch, "follow an edit until it ends").add_argument("edit_id", metavar="EDIT_ID")
    add("cancel", _cancel, "ask an edit to stop").add_argument("edit_id", metavar="EDIT_ID")
    return parser


def _options_anywhere() -> argparse.ArgumentParser:
    """The options that stand before or after the command; suppressed, the second do not undo the first."""
    options = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    options.add_argument("--url", help=f"where the service is (ERRATA_URL, else {DEFAULT_URL})")
    options.add_argument("--api-key", help="the API key (ERRATA_API_KEY)")
    options.add_argument("--json", action="store_true", help="write JSON for machines")
    return options


def _version_or_base(text: str) -> int | Literal["base"]:
    return "base" if text == "base" else int(text)


if __name__ == "__main__":
    sys.exit(main())
