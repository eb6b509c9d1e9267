"""Commands that look at facts."""

import argparse

from errata_client.client import Errata
from errata_client.commands.command import AddCommand, Exit
from errata_client.commands.output import show, show_all
from errata_client.views import fact_view, facts_view

FILTERS = {
    "subject": "facts about this subject",
    "relation": "facts of this relation",
    "object": "facts with this object",
    "edit": "facts that got their object from this edit",
    "by": "facts whose object was sent with the key of this name",
    "text": "facts with this in one of their parts, in any case",
}


def add_commands(add: AddCommand) -> None:
    """`facts` and `fact`."""
    facts = add("facts", _facts, "list the facts of the active version")
    for name, finds in FILTERS.items():
        facts.add_argument(f"--{name}", help=f"only {finds}")
    facts.add_argument("--version", type=int, metavar="N", help="not the active version")

    fact = add("fact", _fact, "show one fact and its history")
    fact.add_argument("fact_id", metavar="FACT_ID", help="as `errata-client facts` shows it")
    fact.add_argument("--version", type=int, metavar="N", help="as this version holds it, not the active one")


def _facts(client: Errata, arguments: argparse.Namespace) -> Exit:
    filters = {name: getattr(arguments, name) for name in FILTERS}
    show_all(arguments, client.facts(version=arguments.version, **filters), facts_view)
    return Exit.DONE


def _fact(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.fact(arguments.fact_id, arguments.version), fact_view)
    return Exit.DONE
