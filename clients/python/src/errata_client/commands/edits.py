"""`edits`: putting facts into the model, and what became of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from errata_client.commands.command import (
    Exit,
    NamedValues,
    Noun,
    argument,
    command,
    options_of,
    version_option,
)
from errata_client.commands.jobs import NOTE, WAIT, places_in, queue, watch_to_end
from errata_client.commands.output import show, show_all
from errata_client.formatting.edits import format_edit, format_edits, format_outcomes
from errata_client.options import EditOptions

if TYPE_CHECKING:
    from errata_client.client import Errata
    from errata_client.facts import FactInput

EDIT_ID = argument("edit_id", metavar="EDIT_ID")
METHOD = argument("--method", default="memit", help="such as rome (default: memit)")
HYPERPARAMETERS = argument(
    "--hparam", action=NamedValues, dest="hparams", help="such as clamp=4 or layers=[3,4]; repeatable"
)
HARDER = (
    argument("--partial", action="store_true", help="serve it though some of its facts are not said"),
    argument(
        "--tries", type=int, metavar="N", help="builds at most until all facts are said, each harder (default: 3)"
    ),
)
GATE = argument(
    "--gate",
    action=NamedValues,
    help="what the version must reach to be served, such as min_specificity=0.9, or null for nothing; repeatable",
)
BASE = version_option("build on this version, not on the active one", "--base")
OF_A_VERSION = (
    GATE,
    *HARDER,
    argument("--dry-run", action="store_true", help="measure what would come of it, and keep nothing"),
    BASE,
    NOTE,
    argument("--no-activate", dest="activate", action="store_false", help="build, but do not serve it"),
)


@command(
    "put facts into the model, from a file or from flags, and withdraw others",
    argument("file", nargs="?", metavar="FILE", help="facts as .jsonl, .json or .csv; - for stdin"),
    *(argument(f"--{part}", help=f"the {part} of a single fact") for part in ("subject", "relation", "object")),
    argument("--retract", action="append", default=[], metavar="FACT_ID", help="withdraw a fact; repeatable"),
    argument(
        "--on-conflict",
        choices=("replace", "error"),
        default="replace",
        help="where a fact is there with another object: replace it (default), or refuse the edit",
    ),
    METHOD,
    HYPERPARAMETERS,
    *OF_A_VERSION,
    WAIT,
)
def submit(client: Errata, arguments: argparse.Namespace) -> Exit:
    facts, places = _facts_to_send(arguments)
    places |= {f"/retract/{index}": f"--retract {fact_id}" for index, fact_id in enumerate(arguments.retract)}
    withdrawn, on_conflict, options = arguments.retract, arguments.on_conflict, options_of(arguments, EditOptions)
    return queue(
        arguments,
        lambda: client.edit(facts, retract=withdrawn, on_conflict=on_conflict, **options),
        format_edit,
        places,
    )


@command("list the edits, newest first")
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.edits(), format_edits)


@command("show one edit", EDIT_ID)
def show_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.get_edit(arguments.edit_id), format_edit)


@command("follow an edit until it ends", EDIT_ID)
def watch(client: Errata, arguments: argparse.Namespace) -> Exit:
    return watch_to_end(arguments, client.get_edit(arguments.edit_id), format_edit)


@command("ask an edit to stop", EDIT_ID)
def cancel(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.cancel(arguments.edit_id), format_edit)


@command(
    "search again, and harder, for the facts of an edit that did not take",
    EDIT_ID,
    HYPERPARAMETERS,
    GATE,
    *HARDER,
    BASE,
    NOTE,
    argument("--no-activate", dest="activate", action="store_false", default=None, help="do not serve it"),
    WAIT,
)
def retry(client: Errata, arguments: argparse.Namespace) -> Exit:
    options = options_of(arguments, EditOptions)
    return queue(arguments, lambda: client.retry(arguments.edit_id, **options), format_edit)


@command(
    "list how each fact of an edit's version took",
    EDIT_ID,
    argument("--not-taken", action="store_true", help="only those that the version does not say"),
)
def outcomes(client: Errata, arguments: argparse.Namespace) -> None:
    took = False if arguments.not_taken else None
    show_all(arguments, client.fact_outcomes(arguments.edit_id, took), format_outcomes)


EDITS = Noun(
    "edits", "batches of facts on their way into the model", (submit, list_, show_, watch, cancel, retry, outcomes)
)


def _facts_to_send(arguments: argparse.Namespace) -> tuple[list[FactInput], dict[str, str]]:
    """Return the facts, and where each of a file stands, under its pointer into the request."""
    parts = (arguments.subject, arguments.relation, arguments.object)
    if arguments.file is None and None not in parts:
        return [parts], {f"/facts/0/{part}": f"--{part}" for part in ("subject", "relation", "object")}
    if parts != (None, None, None) or (arguments.file is None and not arguments.retract):
        arguments.usage_error("give either a FILE, or --subject, --relation and --object, or --retract")
    if arguments.file is None:
        return [], {}
    from errata_client.fact_files import read_placed_facts

    by_place = read_placed_facts(arguments.file)
    return list(by_place.values()), places_in("facts", arguments.file, by_place)
