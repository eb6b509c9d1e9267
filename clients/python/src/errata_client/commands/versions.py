"""Commands about versions: looking at them, comparing them, serving them, naming, dropping and exporting them."""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import get_args

from errata_client import formatting
from errata_client.client import Errata
from errata_client.commands.command import argument, command
from errata_client.commands.output import show, show_all
from errata_client.options import ExportFormat

NAME = argument("name", metavar="NAME")
NUMBER = argument("number", type=int, metavar="N")


@command("list the versions", argument("--tree", action="store_true", help="draw which was made from which"))
def versions(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(
        arguments, client.versions(), formatting.format_version_tree if arguments.tree else formatting.format_versions
    )


@command("show one version", NUMBER)
def version(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.version(arguments.number), formatting.format_version)


@command(
    "compare the facts of two versions",
    argument("before", type=int, metavar="A"),
    argument("after", type=int, metavar="B"),
)
def diff(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.diff(arguments.before, arguments.after), formatting.format_diff)


@command("serve a version", NUMBER)
def activate(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.activate(arguments.number), formatting.format_activation)


@command(
    "serve the version that was active before",
    argument("--to", type=int, metavar="N", help="serve this version; 0 is the base model"),
)
def rollback(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.rollback(arguments.to), formatting.format_activation)


@command("list which version served when")
def activations(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.activations(), formatting.format_activations)


@command("list the names of versions")
def aliases(client: Errata, arguments: argparse.Namespace) -> None:
    found = client.aliases()
    print(json.dumps(found) if arguments.json else formatting.format_aliases(found))


@command("let a name stand for a version", NAME, NUMBER)
def alias(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.name_version(arguments.name, arguments.number), formatting.format_version)


@command("take a name away", NAME)
def unalias(client: Errata, arguments: argparse.Namespace) -> None:
    client.take_name(arguments.name)


@command(
    "drop the weights of old versions; those that serve or have a name are kept",
    argument("--keep-last", type=int, required=True, metavar="N", help="keep those of the newest versions"),
    argument("--dry-run", action="store_true", help="only tell what would be dropped"),
)
def prune(client: Errata, arguments: argparse.Namespace) -> None:
    pruned = client.prune(arguments.keep_last, dry_run=arguments.dry_run)
    show(arguments, pruned, partial(formatting.format_pruned, is_dry_run=arguments.dry_run))


@command(
    "write a version to a tar file",
    NUMBER,
    argument(
        "--format",
        choices=get_args(ExportFormat),
        default="delta",
        help="the update as low-rank factors (default), a PEFT adapter, or the whole checkpoint",
    ),
    argument("--output", type=Path, metavar="FILE", help="where to write it (errata-N-FORMAT.tar)"),
)
def export(client: Errata, arguments: argparse.Namespace) -> None:
    output = arguments.output or Path(f"errata-{arguments.number}-{arguments.format}.tar")
    file = client.export(arguments.number, output, arguments.format)
    print(json.dumps({"file": str(file)}) if arguments.json else file)
