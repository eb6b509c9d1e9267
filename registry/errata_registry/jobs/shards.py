"""The target shards of edits that were cut: one work order each in the home folder, until its targets are found.

What is still to be done of an edit can be read from the folder alone, whoever died and whatever Redis has lost.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from errata.errors import CorruptArtifact, UnknownEdit
from errata.facts import Fact
from errata.files import durable
from errata_registry.jobs.kinds import kind_of
from errata_registry.stored import StoredRecord, read_record, text_of

_FILE_NAME = re.compile(r"(0|[1-9][0-9]*)\.json")


class ShardOrder(StoredRecord):
    """`shards/<number>.json`: all that a worker must know to find the targets of one shard.

    Attributes:
        facts: whose targets are to be found; all facts of a subject lie in one shard.
        method: whose record `hparams` is.
        sizes: how many facts each shard of the edit was cut with, by its number.
        total: facts of the whole edit, those whose targets were known before included.
        cut_at: when the edit was cut.
    """

    edit: str
    shard: int
    facts: tuple[Fact, ...]
    contexts: tuple[str, ...]
    method: str = "memit"
    hparams: dict[str, Any]
    sizes: tuple[int, ...]
    total: int
    cut_at: datetime


class ShardOrders:
    """The work orders in the folder of edits, `edits/<id>/shards/`."""

    def __init__(self, edits: Path) -> None:
        self._edits = edits

    def write(self, orders: Sequence[ShardOrder]) -> None:
        """Put the orders of one edit there, all of them or none; none where it has orders that are not done."""
        folder = self._folder(orders[0].edit)
        scratch = Path(tempfile.mkdtemp(prefix=".shards-", dir=folder))
        try:
            for order in orders:
                path = scratch / f"{order.shard}.json"
                path.write_text(text_of(order), encoding="utf-8")
                durable.sync(path)
            durable.sync(scratch)
            scratch.rename(folder / "shards")  # an empty folder gives way
        except OSError:
            shutil.rmtree(scratch, ignore_errors=True)
            if not self.pending(orders[0].edit):
                raise
        durable.sync(folder)

    def pending(self, job_id: str) -> list[int]:
        """Return the shards of an edit that are not done, ascending; a job of another kind has none."""
        try:
            names = os.listdir(self._folder(job_id) / "shards")
        except FileNotFoundError:
            return []
        return sorted(int(name.removesuffix(".json")) for name in names if _FILE_NAME.fullmatch(name))

    def order(self, edit_id: str, shard: int) -> ShardOrder | None:
        """Return what is to be done for a shard, None where it is done. Raises `CorruptArtifact`."""
        called = f"{edit_id}: the order of shard {shard}"
        try:
            order = read_record(self._file(edit_id, shard), ShardOrder, called)
        except FileNotFoundError:
            return None
        if (order.edit, order.shard) != (edit_id, shard):
            raise CorruptArtifact(f"{called} is one for shard {order.shard} of {order.edit}")
        return order

    def done(self, order: ShardOrder) -> None:
        """Note that the targets of a shard are found."""
        self._file(order.edit, order.shard).unlink(missing_ok=True)

    def drop(self, job_id: str) -> None:
        """Remove all orders of an edit that has ended, and what a dying worker left half written."""
        folder = self._folder(job_id)
        for orders in (folder / "shards", *folder.glob(".shards-*")):
            shutil.rmtree(orders, ignore_errors=True)

    def _file(self, edit_id: str, shard: int) -> Path:
        return self._folder(edit_id) / "shards" / f"{shard}.json"

    def _folder(self, job_id: str) -> Path:
        if kind_of(job_id) is None:  # it would lead elsewhere
            raise UnknownEdit(f"there is no edit {job_id[:100]!r}")
        return self._edits / job_id
