"""`aliases`: names that stand for a version."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from errata_client.commands.command import VERSION, Noun, argument, command
from errata_client.commands.jobs import NOTE
from errata_client.commands.output import show, show_all, show_document
from errata_client.formatting.versions import format_alias, format_aliases, format_version

if TYPE_CHECKING:
    from errata_client.client import Errata

NAME = argument("name", metavar="NAME")


@command("list the names of versions")
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.names(), format_aliases)


@command("let a name stand for a version", NAME, VERSION)
def set_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.name_version(arguments.name, arguments.version), format_version)


@command("take a name away; the version stays", NAME)
def remove(client: Errata, arguments: argparse.Namespace) -> None:
    client.take_name(arguments.name)
    show_document(arguments, f"{arguments.name} is no version's name any more", removed=arguments.name)


@command("let a name neither be moved nor removed, nor its version be deleted, until it is unprotected", NAME, NOTE)
def protect(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.protect_name(arguments.name, note=arguments.note), format_alias)


@command("undo the protection of a name", NAME)
def unprotect(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.unprotect_name(arguments.name), format_alias)


ALIASES = Noun(
    "aliases", "names that stand for versions, such as production", (list_, set_, remove, protect, unprotect)
)
