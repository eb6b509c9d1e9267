"""`facts`: looking for them, what became of one, looking at some before they are sent, and withdrawing them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from errata_client.commands.command import Exit, Noun, argument, command, options_of, version_option
from errata_client.commands.edits import OF_A_VERSION
from errata_client.commands.jobs import WAIT, queue
from errata_client.commands.output import show, show_all
from errata_client.formatting.edits import format_edit
from errata_client.formatting.facts import format_checked, format_fact, format_facts, format_history
from errata_client.options import EditOptions

if TYPE_CHECKING:
    from errata_client.client import Errata

FILTERS = {
    "subject": "facts about this subject",
    "relation": "facts of this relation",
    "object": "facts with this object",
    "edit": "facts that got their object from this edit",
    "by": "facts whose object was sent with the key of this name",
    "text": "facts with this in one of their parts, in any case",
}
FACT_ID = argument("fact_id", metavar="FACT_ID", help="as `errata-client facts` shows it")


@command(
    "list the facts of a version",
    *(argument(f"--{name}", help=f"only {finds}") for name, finds in FILTERS.items()),
    version_option("not the active version"),
)
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    filters = {name: getattr(arguments, name) for name in FILTERS}
    show_all(arguments, client.facts(version=arguments.version, **filters), format_facts)


@command("show one fact and its history", FACT_ID, version_option("as this version holds it, not the active one"))
def show_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.fact(arguments.fact_id, arguments.version), format_fact)


@command("list what became of a fact in all versions, newest first", FACT_ID)
def history(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.fact(arguments.fact_id).history, format_history)


@command(
    "withdraw facts from the model",
    argument("fact_ids", nargs="+", metavar="FACT_ID", help="as `errata-client facts` shows it"),
    *OF_A_VERSION,
    WAIT,
)
def retract(client: Errata, arguments: argparse.Namespace) -> Exit:
    places = {f"/ids/{index}": name for index, name in enumerate(arguments.fact_ids)}
    options = options_of(arguments, EditOptions)
    return queue(arguments, lambda: client.retract(arguments.fact_ids, **options), format_edit, places)


@command(
    "look at a file of facts before it is sent: what is wrong with each, and what it would change",
    argument("file", metavar="FILE", help="facts as .jsonl, .json or .csv; - for stdin"),
    version_option("what it would change in this version, not in the active one"),
)
def check(client: Errata, arguments: argparse.Namespace) -> Exit:
    from errata_client.fact_files import read_fact_records

    by_place = read_fact_records(arguments.file)
    checked = client.check_facts(by_place.values(), arguments.version)
    places = [str(place) for place in by_place]
    show(arguments, checked, lambda found, look: format_checked(found, places, look))
    return Exit.NOT_AS_ASKED if any(fact.errors for fact in checked.data) else Exit.DONE


FACTS = Noun("facts", "what the model was made to say", (list_, show_, history, check, retract))
