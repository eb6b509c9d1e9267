"""Commands about versions: looking at them, comparing them, serving them, naming, dropping and exporting them."""

import argparse
import json
from pathlib import Path
from typing import get_args

from errata_client.client import Errata
from errata_client.commands.command import AddCommand, Exit
from errata_client.commands.output import show, show_all
from errata_client.routes import ExportFormat
from errata_client.views import (
    activation_view,
    activations_view,
    aliases_view,
    diff_view,
    pruned_view,
    version_tree_view,
    version_view,
    versions_view,
)


def add_commands(add: AddCommand) -> None:
    """`versions`, `version`, `diff`, `activate`, `rollback`, `activations`, the names, `prune` and `export`."""
    versions = add("versions", _versions, "list the versions")
    versions.add_argument("--tree", action="store_true", help="draw which was made from which")
    add("version", _version, "show one version").add_argument("number", type=int, metavar="N")
    diff = add("diff", _diff, "compare the facts of two versions")
    diff.add_argument("before", type=int, metavar="A")
    diff.add_argument("after", type=int, metavar="B")

    add("activate", _activate, "serve a version").add_argument("number", type=int, metavar="N")
    rollback = add("rollback", _rollback, "serve the version that was active before")
    rollback.add_argument("--to", type=int, metavar="N", help="serve this version; 0 is the base model")
    add("activations", _activations, "list which version served when")

    add("aliases", _aliases, "list the names of versions")
    alias = add("alias", _alias, "let a name stand for a version")
    alias.add_argument("name", metavar="NAME")
    alias.add_argument("number", type=int, metavar="N")
    add("unalias", _unalias, "take a name away").add_argument("name", metavar="NAME")

    prune = add("prune", _prune, "drop the weights of old versions; those that serve or have a name are kept")
    prune.add_argument("--keep-last", type=int, required=True, metavar="N", help="keep those of the newest versions")
    prune.add_argument("--dry-run", action="store_true", help="only tell what would be dropped")
    export = add("export", _export, "write a version to a tar file")
    export.add_argument("number", type=int, metavar="N")
    export.add_argument(
        "--format",
        choices=get_args(ExportFormat),
        default="delta",
        help="the update as low-rank factors (default), a PEFT adapter, or the whole checkpoint",
    )
    export.add_argument("--output", type=Path, metavar="FILE", help="where to write it (errata-N-FORMAT.tar)")


def _versions(client: Errata, arguments: argparse.Namespace) -> Exit:
    show_all(arguments, client.versions(), version_tree_view if arguments.tree else versions_view)
    return Exit.DONE


def _version(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.version(arguments.number), version_view)
    return Exit.DONE


def _diff(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.diff(arguments.before, arguments.after), diff_view)
    return Exit.DONE


def _activate(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.activate(arguments.number), activation_view)
    return Exit.DONE


def _rollback(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.rollback(arguments.to), activation_view)
    return Exit.DONE


def _activations(client: Errata, arguments: argparse.Namespace) -> Exit:
    show_all(arguments, client.activations(), activations_view)
    return Exit.DONE


def _aliases(client: Errata, arguments: argparse.Namespace) -> Exit:
    aliases = client.aliases()
    print(json.dumps(aliases) if arguments.json else aliases_view(aliases))
    return Exit.DONE


def _alias(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.name_version(arguments.name, arguments.number), version_view)
    return Exit.DONE


def _unalias(client: Errata, arguments: argparse.Namespace) -> Exit:
    client.take_name(arguments.name)
    return Exit.DONE


def _prune(client: Errata, arguments: argparse.Namespace) -> Exit:
    show(arguments, client.prune(arguments.keep_last, dry_run=arguments.dry_run), pruned_view)
    return Exit.DONE


def _export(client: Errata, arguments: argparse.Namespace) -> Exit:
    output = arguments.output or Path(f"errata-{arguments.number}-{arguments.format}.tar")
    file = client.export(arguments.number, output, arguments.format)
    print(json.dumps({"file": str(file)}) if arguments.json else file)
    return Exit.DONE
