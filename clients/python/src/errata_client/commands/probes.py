"""The command about probes: prompts with expected answers that every new version must pass."""

import argparse
from pathlib import Path

from errata_client.client import Errata
from errata_client.commands.command import AddCommand, Exit
from errata_client.commands.output import show, show_all
from errata_client.fact_files import read_probes
from errata_client.views import probes_put_view, probes_view


def add_commands(add: AddCommand) -> None:
    """`probes`."""
    probes = add("probes", _probes, "list, or set, the prompts with answers that every new version must pass")
    probes.add_argument("action", choices=("list", "set"), help="set: put those of FILE in place of all")
    probes.add_argument("file", nargs="?", type=Path, metavar="FILE", help="prompts with answers as .jsonl or .json")


def _probes(client: Errata, arguments: argparse.Namespace) -> Exit:
    if (arguments.action == "set") != (arguments.file is not None):
        arguments.usage_error("give a FILE to `probes set`, and none to `probes list`")
    if arguments.file is None:
        show_all(arguments, client.probes(), probes_view)
    else:
        show(arguments, client.set_probes(read_probes(arguments.file)), probes_put_view)
    return Exit.DONE
