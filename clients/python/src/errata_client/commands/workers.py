"""`workers`: who does the jobs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from errata_client.commands.command import Noun, command
from errata_client.commands.output import show
from errata_client.formatting.service import format_workforce

if TYPE_CHECKING:
    from errata_client.client import Errata


@command("list the live workers with what each does, and what waits for one")
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.workers(), format_workforce)


WORKERS = Noun("workers", "the processes that do the jobs", (list_,))
