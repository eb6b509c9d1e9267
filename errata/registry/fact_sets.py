"""The fact sets of versions, kept in memory, and what became of a fact through them."""

from __future__ import annotations

import threading
from collections import OrderedDict

from errata.registry.artifacts import Artifacts
from errata.registry.fact_index import FactIndex
from errata.registry.records import BASE_VERSION, FactEvent

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
            CorruptArtifact: a manifest cannot be read.
        """
        return tuple(
            FactEvent(
                **change.model_dump(),
                version=manifest.id,
                parent=manifest.parent,
                edit=manifest.edit,
                by=manifest.by,
                at=manifest.created_at,
            )
            for manifest, change in self._artifacts.changes_of(fact_id)
        )
