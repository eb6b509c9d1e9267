"""`aliases`: names that stand for a version."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from errata_client.commands.command import VERSION, Noun, argument, command
from errata_client.commands.output import show, show_document
from errata_client.formatting.versions import format_aliases, format_version
from errata_client.tables import look_of

if TYPE_CHECKING:
    from errata_client.client import Errata

NAME = argument("name", metavar="NAME")


@command("list the names of versions")
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    found = client.aliases()
    if not arguments.json:
        print(format_aliases(found, look_of(sys.stdout)))
        return
    for name, version in found.items():
        print(json.dumps({"name": name, "version": version}))


@command("let a name stand for a version", NAME, VERSION)
def set_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.name_version(arguments.name, arguments.version), format_version)


@command("take a name away; the version stays", NAME)
def remove(client: Errata, arguments: argparse.Namespace) -> None:
    client.take_name(arguments.name)
    show_document(arguments, f"{arguments.name} is no version's name any more", removed=arguments.name)


ALIASES = Noun("aliases", "names that stand for versions, such as production", (list_, set_, remove))
