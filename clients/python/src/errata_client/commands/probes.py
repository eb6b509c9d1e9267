"""`probes`: prompts with answers that every new version must pass."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from errata_client.commands.command import Noun, argument, command
from errata_client.commands.output import show, show_all
from errata_client.formatting.probes import format_probes, format_probes_put

if TYPE_CHECKING:
    from errata_client.client import Errata


@command("list the probes")
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.probes(), format_probes)


@command(
    "put those of a file in the place of all that are there",
    argument("file", metavar="FILE", help="prompts with answers as .jsonl or .json; - for stdin"),
)
def set_(client: Errata, arguments: argparse.Namespace) -> None:
    from errata_client.fact_files import read_probes

    probes = read_probes(arguments.file)
    if not probes:
        arguments.usage_error("FILE holds no probes; `probes clear` removes all that are there")
    show(arguments, client.set_probes(probes), format_probes_put)


@command("remove all probes")
def clear(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.set_probes([]), format_probes_put)


PROBES = Noun("probes", "prompts with answers that every new version must pass", (list_, set_, clear))
