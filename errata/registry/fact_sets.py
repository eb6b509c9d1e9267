"""The fact sets of versions, kept in memory, and what became of a fact through them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from errata.registry.artifacts import Artifacts
from errata.registry.fact_index import FactIndex
from errata.registry.records import BASE_VERSION, FactEvent, StoredFact

MOST_KEPT = 8


class FactSets:
    """The fact sets of the versions in a home folder. Those asked for last stay in memory, since they never change."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._kept: OrderedDict[int, FactIndex] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, number: int) -> FactIndex:
        """The facts of a version; the base has none. Raises `UnknownVersion`, `CorruptArtifact`."""
        if number == BASE_VERSION:
            return FactIndex()
        self._artifacts.require(number)
        with self._lock:
            index = self._kept.get(number) or FactIndex(self._artifacts.facts(number))
            self._kept[number] = index
            self._kept.move_to_end(number)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return index

    def history(self, fact_id: str) -> tuple[FactEvent, ...]:
        """How versions changed a fact, newest first, versions that were deleted since included.

        Raises:
            CorruptArtifact: a file of a version cannot be read.
        """
        return tuple(self._events(fact_id))

    def last(self, fact_id: str) -> StoredFact | None:
        """A fact as it stood in the newest version that gave it an object; None where none ever did.

        Raises:
            CorruptArtifact: a file of a version cannot be read.
        """
        for event in self._events(fact_id):
            if event.after is not None:
                return self._artifacts.folder(event.version).fact(fact_id)
        return None

    def _events(self, fact_id: str) -> Iterator[FactEvent]:
        for number in reversed(self._artifacts.all_numbers()):
            folder = self._artifacts.folder(number)
            if change := folder.change(fact_id):
                manifest = folder.manifest
                yield FactEvent(
                    **change.model_dump(),
                    version=manifest.id,
                    parent=manifest.parent,
                    edit=manifest.edit,
                    by=manifest.by,
                    at=manifest.created_at,
                )
