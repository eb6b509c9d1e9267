"""Commands that make edits and follow them."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from errata_client.client import Errata
from errata_client.commands.command import AddCommand, Exit
from errata_client.commands.output import place_of, say, say_each, show, show_all
from errata_client.edits import Edit
from errata_client.errors import Conflict, EditError, Unprocessable, edit_error
from errata_client.events import LogEvent, ProgressEvent, StatusEvent
from errata_client.fact_files import read_placed_facts
from errata_client.facts import FactInput
from errata_client.models import EditRecord
from errata_client.progress import ProgressBar
from errata_client.views import edit_view, evaluation_view, outcomes_view, trace_view


def add_commands(add: AddCommand) -> None:
    """`edit`, `retract`, `rebuild`, `retry`, `watch`, `outcomes` and `cancel`."""
    edit = add("edit", _edit, "put facts into the model, from a file or from flags, and withdraw others")
    edit.add_argument("file", nargs="?", type=Path, metavar="FILE", help="facts as .jsonl, .json or .csv")
    for part in ("subject", "relation", "object"):
        edit.add_argument(f"--{part}", help=f"the {part} of a single fact")
    edit.add_argument("--retract", action="append", default=[], metavar="FACT_ID", help="withdraw a fact; repeatable")
    edit.add_argument(
        "--on-conflict",
        choices=("replace", "error"),
        default="replace",
        help="where a fact is there with another object: replace it (default), or refuse the edit",
    )
    edit.add_argument("--method", default="memit", help="such as rome (default: memit)")
    _add_hyperparameters(edit)
    _add_options_of_a_version(edit)
    _add_wait(edit)

    retract = add("retract", _retract, "withdraw facts from the model")
    retract.add_argument("fact_ids", nargs="+", metavar="FACT_ID", help="as `errata-client facts` shows it")
    _add_options_of_a_version(retract)
    _add_wait(retract)

    rebuild = add("rebuild", _rebuild, "build the dropped weights of a version again")
    rebuild.add_argument("number", type=int, metavar="N")
    _add_wait(rebuild)

    retry = add("retry", _retry, "search again, and harder, for the facts of an edit that did not take")
    retry.add_argument("edit_id", metavar="EDIT_ID")
    _add_hyperparameters(retry)
    retry.add_argument("--note", help="what is to be remembered of it")
    retry.add_argument("--no-activate", dest="activate", action="store_false", default=None, help="do not serve it")
    _add_wait(retry)

    add("watch", _watch, "follow an edit until it ends").add_argument("edit_id", metavar="EDIT_ID")
    outcomes = add("outcomes", _outcomes, "list how each fact of an edit's version took")
    outcomes.add_argument("edit_id", metavar="EDIT_ID")
    outcomes.add_argument("--not-taken", action="store_true", help="only those that the version does not say")
    cancel = add("cancel", _cancel, "ask an edit, an evaluation or a trace to stop")
    cancel.add_argument("job_id", metavar="ID")


def _add_hyperparameters(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--hparam",
        action="append",
        default=[],
        type=_named_value,
        metavar="NAME=VALUE",
        help="such as clamp=4 or layers=[3,4]; repeatable",
    )


def _add_options_of_a_version(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--gate",
        action="append",
        default=[],
        type=_named_value,
        metavar="NAME=VALUE",
        help="what the version must reach to be served, such as min_specificity=0.9, or null for nothing; repeatable",
    )
    command.add_argument("--dry-run", action="store_true", help="measure what would come of it, and keep nothing")
    command.add_argument("--base", type=int, metavar="N", help="build on this version, not on the active one")
    command.add_argument("--note", help="what is to be remembered of it")
    command.add_argument("--no-activate", dest="activate", action="store_false", help="build, but do not serve it")


def _add_wait(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--wait", action=argparse.BooleanOptionalAction, default=True, help="wait until it ends (default)"
    )


def _edit(client: Errata, arguments: argparse.Namespace) -> Exit:
    facts, places = _facts_to_send(arguments)
    places |= {f"/retract/{index}": f"--retract {fact_id}" for index, fact_id in enumerate(arguments.retract)}

    def send() -> Edit:
        return client.edit(
            facts,
            retract=arguments.retract,
            on_conflict=arguments.on_conflict,
            method=arguments.method,
            hparams=dict(arguments.hparam),
            base=arguments.base,
            activate=arguments.activate,
            gate=dict(arguments.gate),
            note=arguments.note,
            dry_run=arguments.dry_run,
        )

    return _see_through(arguments, send, places)


def _retract(client: Errata, arguments: argparse.Namespace) -> Exit:
    def send() -> Edit:
        return client.retract(
            arguments.fact_ids,
            base=arguments.base,
            activate=arguments.activate,
            gate=dict(arguments.gate),
            note=arguments.note,
            dry_run=arguments.dry_run,
        )

    return _see_through(arguments, send, {f"/ids/{index}": name for index, name in enumerate(arguments.fact_ids)})


def _rebuild(client: Errata, arguments: argparse.Namespace) -> Exit:
    return _see_through(arguments, lambda: client.rebuild(arguments.number), {})


def _retry(client: Errata, arguments: argparse.Namespace) -> Exit:
    def send() -> Edit:
        return client.retry(
            arguments.edit_id, hparams=dict(arguments.hparam), activate=arguments.activate, note=arguments.note
        )

    return _see_through(arguments, send, {})


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


def _outcomes(client: Errata, arguments: argparse.Namespace) -> Exit:
    took = False if arguments.not_taken else None
    show_all(arguments, client.fact_outcomes(arguments.edit_id, took), outcomes_view)
    return Exit.DONE


def _cancel(client: Errata, arguments: argparse.Namespace) -> Exit:
    job_id = arguments.job_id
    if job_id.startswith("eval_"):
        show(arguments, client.evaluations.cancel(job_id), evaluation_view)
    elif job_id.startswith("trace_"):
        show(arguments, client.traces.cancel(job_id), trace_view)
    else:
        show(arguments, client.cancel(job_id), edit_view)
    return Exit.DONE


def _facts_to_send(arguments: argparse.Namespace) -> tuple[list[FactInput], dict[str, str]]:
    """The facts, and where each of a file stands, under its pointer into the request."""
    parts = (arguments.subject, arguments.relation, arguments.object)
    if arguments.file is None and None not in parts:
        return [parts], {}
    if parts != (None, None, None) or (arguments.file is None and not arguments.retract):
        arguments.usage_error("give either a FILE, or --subject, --relation and --object, or --retract")
    if arguments.file is None:
        return [], {}
    by_place = read_placed_facts(arguments.file)
    return list(by_place.values()), {f"/facts/{i}": f"{arguments.file}, {place}" for i, place in enumerate(by_place)}


def _see_through(arguments: argparse.Namespace, send: Callable[[], Edit], places: Mapping[str, str]) -> Exit:
    """Send an edit, wait for its end where that is wanted, and show it; what is refused is named by its place."""
    try:
        edit = send()
    except (Conflict, Unprocessable) as error:
        if not error.problems:
            raise
        say_each([f"{place_of(problem.pointer, places)}: {problem.detail}" for problem in error.problems])
        return Exit.REFUSED
    try:
        show(arguments, edit.wait() if arguments.wait else edit, edit_view)
    except EditError as error:
        show(arguments, error.edit, edit_view)
        raise
    except KeyboardInterrupt:
        say(f"interrupted; the edit goes on: errata-client watch {edit.id}")
        return Exit.INTERRUPTED
    return Exit.DONE


def _named_value(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE with a number") from None
