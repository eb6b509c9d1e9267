"""`versions`: looking at them, comparing them, serving them, dropping and exporting them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from errata_client.commands.command import VERSION, Exit, Noun, argument, command, version_name, version_option
from errata_client.commands.jobs import NOTE, WAIT, queue
from errata_client.commands.output import agrees, say, show, show_all, show_document
from errata_client.formatting.edits import format_edit
from errata_client.formatting.facts import format_diff
from errata_client.formatting.versions import (
    format_activation,
    format_activations,
    format_pruned,
    format_version,
    format_version_tree,
    format_versions,
)
from errata_client.formatting.words import counted
from errata_client.options import ExportFormat

if TYPE_CHECKING:
    from errata_client.client import Errata

YES = argument("--yes", action="store_true", help="do not ask")


@command("list the versions", argument("--tree", action="store_true", help="draw which was made from which"))
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.versions(), format_version_tree if arguments.tree else format_versions)


@command("show one version", VERSION)
def show_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.version(arguments.version), format_version)


@command(
    "compare the facts of two versions",
    argument("before", type=version_name, metavar="BEFORE"),
    argument("after", type=version_name, metavar="AFTER"),
)
def diff(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.diff(arguments.before, arguments.after), format_diff)


@command("serve a version", VERSION, NOTE)
def activate(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.activate(arguments.version, note=arguments.note), format_activation)


@command(
    "serve the version that was active before, and, repeated, go further and further back",
    version_option("serve this version; base is the model as it was", "--to"),
    NOTE,
)
def rollback(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.rollback(arguments.to, note=arguments.note), format_activation)


@command("list which version served when, newest first")
def activations(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.activations(), format_activations)


@command("delete a version's weights for good; its facts stay as history", VERSION, YES)
def delete(client: Errata, arguments: argparse.Namespace) -> None:
    if agrees(arguments, f"delete the weights of version {arguments.version}"):
        client.delete_version(arguments.version)
        show_document(arguments, f"version {arguments.version} is deleted", deleted=arguments.version)


@command(
    "drop the weights of old versions; those that serve or have a name are kept",
    argument("--keep-last", type=int, required=True, metavar="N", help="keep those of the newest versions"),
    argument("--dry-run", action="store_true", help="only tell what would be dropped"),
    YES,
)
def prune(client: Errata, arguments: argparse.Namespace) -> None:
    foreseen = client.prune(arguments.keep_last, dry_run=True)
    if arguments.dry_run:
        say("a dry run: nothing is dropped; these would be")
        show(arguments, foreseen, format_pruned)
        return
    number = len(foreseen.dropped)
    if number and not agrees(arguments, f"drop the weights of {counted(number, 'version')}, {foreseen.bytes:,} bytes"):
        return
    show(arguments, client.prune(arguments.keep_last), format_pruned)


@command("build the dropped weights of a version again", VERSION, WAIT)
def rebuild(client: Errata, arguments: argparse.Namespace) -> Exit:
    return queue(arguments, lambda: client.rebuild(arguments.version), format_edit)


@command(
    "write a version to a tar file",
    VERSION,
    argument(
        "--format",
        choices=get_args(ExportFormat),
        default="delta",
        help="the update as low-rank factors (default), a PEFT adapter, or the whole checkpoint",
    ),
    argument("--output", type=Path, metavar="FILE", help="where to write it (errata-VERSION-FORMAT.tar)"),
)
def export(client: Errata, arguments: argparse.Namespace) -> None:
    output = arguments.output or Path(f"errata-{arguments.version}-{arguments.format}.tar")
    file = client.export(arguments.version, output, arguments.format)
    show_document(arguments, str(file), file=str(file))


VERSIONS = Noun(
    "versions",
    "sets of facts, each with the weights built from it",
    (list_, show_, diff, activate, rollback, activations, delete, prune, rebuild, export),
)
