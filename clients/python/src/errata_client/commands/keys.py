"""`keys`: what the key that is sent may do, and which others there are. Keys are made by `errata new-key`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from errata_client.commands.command import Noun, command
from errata_client.commands.output import show, show_all
from errata_client.formatting.service import format_key, format_keys

if TYPE_CHECKING:
    from errata_client.client import Errata


@command("list the keys of the service by name, which takes the scope admin")
def list_(client: Errata, arguments: argparse.Namespace) -> None:
    show_all(arguments, client.keys(), format_keys)


@command("show what your own key may do")
def show_(client: Errata, arguments: argparse.Namespace) -> None:
    show(arguments, client.key(), format_key)


KEYS = Noun("keys", "who may do what", (list_, show_))
