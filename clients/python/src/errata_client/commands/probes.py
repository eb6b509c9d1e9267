"""The command about probes: prompts with expected answers that every new version must pass."""

import argparse
from pathlib import Path

from errata_client.client import Errata
from errata_client.commands.command import argument, command
from errata_client.commands.output import show, show_all
from errata_client.fact_files import read_probes
from errata_client.formatting import format_probes, format_probes_put


@command(
    "list, set or clear the prompts with answers that every new version must pass",
    argument("action", choices=("list", "set", "clear"), help="set: those of FILE in place of all; clear: none"),
    argument("file", nargs="?", type=Path, metavar="FILE", help="prompts with answers as .jsonl or .json"),
)
def probes(client: Errata, arguments: argparse.Namespace) -> None:
    if (arguments.action == "set") != (arguments.file is not None):
        arguments.usage_error("give a FILE to `probes set`, and none to `probes list` and `probes clear`")
    if arguments.action == "list":
        show_all(arguments, client.probes(), format_probes)
        return
    probes = [] if arguments.file is None else read_probes(arguments.file)
    if arguments.file is not None and not probes:
        arguments.usage_error(f"{arguments.file} holds no probes; `probes clear` removes all that are there")
    show(arguments, client.set_probes(probes), format_probes_put)
