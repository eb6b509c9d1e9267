"""The fact sets of versions, kept in memory, and what became of a fact through them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache

from errata_client.records import BASE_VERSION, FactChange, FactEvent, StoredFact

from errata.errors import CorruptArtifact
from errata_registry.versions.fact_index import FactIndex, change_of, changes_between
from errata_registry.versions.folder import CHANGES, VersionFolder
from errata_registry.versions.store import Artifacts

SETS_KEPT = 8
COMPARISONS_KEPT = 4

logger = logging.getLogger(__name__)


class FactSets:
    """The fact sets of the versions in a home folder. Those asked for last stay in memory, since they never change."""

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._of_base = FactIndex()  # one and the same, so that comparisons with it are known again
        self._read = lru_cache(SETS_KEPT)(lambda number: FactIndex(artifacts.facts(number)))
        self._compared = lru_cache(COMPARISONS_KEPT)(changes_between)

    def of(self, number: int) -> FactIndex:
        """Return the facts of a version; the base has none. Raises `UnknownVersion`, `CorruptArtifact`."""
        if number == BASE_VERSION:
            return self._of_base
        self._artifacts.require(number)
        return self._read(number)

    def changes(self, before: int, after: int) -> tuple[FactChange, ...]:
        """Return what must be done to the facts of one version to get those of another. Raises as `of`."""
        return self._compared(self.of(before), self.of(after))

    def history(self, fact_id: str) -> tuple[FactEvent, ...]:
        """Return how versions changed a fact, newest first, also those that were deleted since. Versions that cannot be
        read are passed over."""
        return tuple(self._events(fact_id))

    def last(self, fact_id: str) -> StoredFact | None:
        """Return a fact as it stood in the newest version that gave it an object, None where none ever did.

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
            try:
                manifest = folder.manifest
                change = folder.change(fact_id) if CHANGES in manifest.files else self._change_without(folder, fact_id)
            except CorruptArtifact as error:  # the other versions have their say all the same
                logger.warning("looking for what became of %s: %s", fact_id, error)
                continue
            if change:
                yield FactEvent(
                    **change.model_dump(),
                    version=manifest.id,
                    parent=manifest.parent,
                    edit=manifest.edit,
                    by=manifest.by,
                    at=manifest.created_at,
                )

    def _change_without(self, folder: VersionFolder, fact_id: str) -> FactChange | None:
        """Return what a version made of a fact, if it was written before versions told of it themselves."""
        parent, after = folder.manifest.parent, folder.fact(fact_id)
        before = None if parent == BASE_VERSION else self._artifacts.folder(parent).fact(fact_id)
        return change_of(before, after) if before or after else None
