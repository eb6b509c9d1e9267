"""`status` and `model`: how the service stands, and the model that it edits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from errata_client.commands.command import command
from errata_client.commands.output import show
from errata_client.formatting.service import format_model, format_ready

if TYPE_CHECKING:
    from errata_client.client import Errata


@command("show whether the service serves, which version, and what is out of order")
def status(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.status(), format_ready)


@command("show the base model, how it is edited, and who serves it")
def model(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.model(), format_model)
