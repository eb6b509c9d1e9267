"""The target shards of edits that were cut: one work order each in the home folder, until its targets are found.

What is still to be done of an edit can be read from the folder alone, whoever died and whatever Redis has lost.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from errata.errors import CorruptArtifact
from errata.files import durable
from errata_registry.jobs.edit_files import edit_folder
from errata_registry.records import FactBody

_FILE_NAME = re.compile(r"(0|[1-9][0-9]*)\.json")


class ShardOrder(BaseModel):
    """`shards/<number>.json`: all that a worker must know to find the targets of one shard.

    Attributes:
        facts: whose targets are to be found; all facts of a subject lie in one shard.
        method: whose record `hparams` is.
        sizes: how many facts each shard of the edit was cut with, by its number.
        total: facts of the whole edit, those whose targets were known before included.
        cut_at: when the edit was cut.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    edit: str
    shard: int
    facts: tuple[FactBody, ...]
    contexts: tuple[str, ...]
    method: str = "memit"
    hparams: dict[str, Any]
    sizes: tuple[int, ...]
    total: int
    cut_at: datetime


class ShardFiles:
    """The work orders in the folder of edits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, orders: Sequence[ShardOrder]) -> None:
        """Put the orders of one edit there, all of them or none; none where it has orders that are not done."""
        folder = edit_folder(self._folder, orders[0].edit)
        scratch = Path(tempfile.mkdtemp(prefix=".shards-", dir=folder))
        try:
            for order in orders:
                path = scratch / _file_name(order.shard)
                path.write_text(order.model_dump_json() + "\n", encoding="utf-8")
                durable.sync(path)
            durable.sync(scratch)
            scratch.chmod(0o755)
            scratch.rename(folder / "shards")  # an empty folder gives way
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            if not self.pending(orders[0].edit):
                raise
        durable.sync(folder)

    def pending(self, edit_id: str) -> list[int]:
        """The shards of an edit that are not done, ascending."""
        try:
            names = os.listdir(edit_folder(self._folder, edit_id) / "shards")
        except FileNotFoundError:
            return []
        return sorted(int(name.removesuffix(".json")) for name in names if _FILE_NAME.fullmatch(name))

    def order(self, edit_id: str, shard: int) -> ShardOrder | None:
        """What is to be done for a shard; None where it is done. Raises `CorruptArtifact`."""
        path = self._file(edit_id, shard)
        try:
            order = ShardOrder.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"{edit_id}: the order of shard {shard} cannot be read: {error}") from error
        if (order.edit, order.shard) != (edit_id, shard):
            raise CorruptArtifact(
                f"{edit_id}: the order of shard {shard} is one for shard {order.shard} of {order.edit}"
            )
        return order

    def done(self, order: ShardOrder) -> None:
        """The targets of a shard are found."""
        self._file(order.edit, order.shard).unlink(missing_ok=True)

    def drop(self, edit_id: str) -> None:
        """The edit has ended; none of its shards is needed any more, nor what a dying worker left half written."""
        folder = edit_folder(self._folder, edit_id)
        for orders in (folder / "shards", *folder.glob(".shards-*")):
            shutil.rmtree(orders, ignore_errors=True)

    def _file(self, edit_id: str, shard: int) -> Path:
        return edit_folder(self._folder, edit_id) / "shards" / _file_name(shard)


def _file_name(shard: int) -> str:
    return f"{shard:d}.json"
