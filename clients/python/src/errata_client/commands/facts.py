"""Commands that look at facts."""

import argparse

from errata_client.client import Errata
from errata_client.commands.command import argument, command
from errata_client.commands.output import show, show_all
from errata_client.formatting import format_fact, format_facts

FILTERS = {
    "subject": "facts about this subject",
    "relation": "facts of this relation",
    "object": "facts with this object",
    "edit": "facts that got their object from this edit",
    "by": "facts whose object was sent with the key of this name",
    "text": "facts with this in one of their parts, in any case",
}


@command(
    "list the facts of the active version",
    *(argument(f"--{name}", help=f"only {finds}") for name, finds in FILTERS.items()),
    argument("--version", type=int, metavar="N", help="not the active version"),
)
def facts(client: Errata, arguments: argparse.Namespace) -> None:
    filters = {name: getattr(arguments, name) for name in FILTERS}
    show_all(arguments, client.facts(version=arguments.version, **filters), format_facts)


@command(
    "show one fact and its history",
    argument("fact_id", metavar="FACT_ID", help="as `errata-client facts` shows it"),
    argument("--version", type=int, metavar="N", help="as this version holds it, not the active one"),
)
def fact(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.fact(arguments.fact_id, arguments.version), format_fact)
