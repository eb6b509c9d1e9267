"""Versions as they are shown and handled: what changes of them, beside the folder that never does, and their facts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from errata_client.records import (
    BASE_VERSION,
    Alias,
    Evaluation,
    FactChange,
    FactEvent,
    Page,
    Protection,
    StoredFact,
    Version,
    VersionStatus,
)

from errata.errors import Conflict, CorruptArtifact, UnknownVersion
from errata_registry.home import BoundBase
from errata_registry.jobs.folder import JobFolder
from errata_registry.jobs.requests import EvaluationRequest
from errata_registry.serving.activations import Activations
from errata_registry.serving.aliases import Aliases, require_unprotected
from errata_registry.stored import now, page_of
from errata_registry.versions import names
from errata_registry.versions.facts import FactIndex, change_of, changes_between
from errata_registry.versions.folder import CHANGES, DELTA, VersionFolder
from errata_registry.versions.names import VersionName
from errata_registry.versions.store import Artifacts

if TYPE_CHECKING:
    from errata.deltas import Delta

FACT_SETS_KEPT = 8
COMPARISONS_KEPT = 4

logger = logging.getLogger(__name__)


class Versions:
    """The versions of a home folder with their status, names, newest evaluation and facts.

    The fact sets asked for last stay in memory, since they never change.
    """

    def __init__(
        self,
        home: Path,
        artifacts: Artifacts,
        activations: Activations,
        aliases: Aliases,
        evaluations: JobFolder[EvaluationRequest, Evaluation],
    ) -> None:
        self._home = home
        self.artifacts = artifacts
        self.activations = activations
        self._aliases = aliases
        self._evaluations = evaluations
        self._facts_of_base = FactIndex()  # one and the same, so that comparisons with it are known again
        self._facts = lru_cache(FACT_SETS_KEPT)(lambda number: FactIndex(artifacts.existing(number).facts()))
        self._changes = lru_cache(COMPARISONS_KEPT)(changes_between)

    def number(self, name: VersionName | None) -> int:
        """Return the number of the version that a name stands for now; None stands for the active one.

        A number stands for itself, whether there is such a version or not. Raises `UnknownAlias`, `UnknownVersion`
        where nothing served before the active one, and `CorruptArtifact`.
        """
        match name:
            case int():
                return name
            case None | names.ACTIVE:
                return self.activations.active()
            case names.BASE:
                return BASE_VERSION
            case names.PREVIOUS:
                return self.activations.previous()
        return self._aliases.get(name).version

    # How they stand

    def get(self, number: int) -> Version:
        """Return one version; 0 is the base. Raises `UnknownVersion`, also for a deleted one; `CorruptArtifact`."""
        self._evaluations.unfinished()  # which takes in what has ended since
        return self._shown(number, self.activations.active(), self._aliases.all())

    def page(self, limit: int = 20, after: int | None = None) -> Page[Version]:
        """Return a part of the list of versions, newest first, the base last. `after` is a number.

        Versions that cannot be read are left out; `errata verify` tells of them.
        """
        self._evaluations.unfinished()
        active, aliases = self.activations.active(), self._aliases.all()
        found: list[Version] = []
        for number in [*reversed(self.artifacts.all_numbers()), BASE_VERSION]:
            if len(found) > limit:
                break
            if after is not None and number >= after:
                continue
            with suppress(CorruptArtifact, UnknownVersion):  # the base is unknown until a model was loaded
                if number == BASE_VERSION or not self.artifacts.folder(number).is_deleted:
                    found.append(self._shown(number, active, aliases))
        return page_of(found, limit, lambda version: str(version.id))

    def _shown(self, number: int, active: int, aliases: Mapping[str, int]) -> Version:
        if number == BASE_VERSION:
            bound = BoundBase.of(self._home)
            version = Version(id=BASE_VERSION, digest=bound.digest, created_at=bound.bound_at)
        else:
            version = _version_of(self.artifacts.existing(number))
        evaluated = self._evaluations.newest_success_of(number)
        changes = {
            "status": VersionStatus.ACTIVE if number == active else version.status,
            "aliases": tuple(name for name, named in aliases.items() if named == number),
            "evaluation": evaluated and evaluated.summary(),
        }
        return version.model_copy(update=changes)

    # Their facts

    def facts(self, number: int) -> FactIndex:
        """Return a version's fact set; the base has none. Raises `UnknownVersion`, `CorruptArtifact`."""
        if number == BASE_VERSION:
            return self._facts_of_base
        self.artifacts.existing(number)  # it may have been deleted since its facts were read
        return self._facts(number)

    def changes(self, before: int, after: int) -> tuple[FactChange, ...]:
        """Return what must be done to the facts of one version to get those of another. Raises as `facts`."""
        return self._changes(self.facts(before), self.facts(after))

    def history(self, fact_id: str) -> Iterator[FactEvent]:
        """Give how versions changed a fact, newest first, also those that were deleted since. Versions that cannot be
        read are passed over."""
        for number in reversed(self.artifacts.all_numbers()):
            folder = self.artifacts.folder(number)
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

    def last(self, fact_id: str) -> StoredFact | None:
        """Return a fact as it stood in the newest version that gave it an object, None where none ever did.

        Raises `CorruptArtifact` where a file of a version cannot be read.
        """
        for event in self.history(fact_id):
            if event.after is not None:
                return self.artifacts.folder(event.version).fact(fact_id)
        return None

    def _change_without(self, folder: VersionFolder, fact_id: str) -> FactChange | None:
        """Return what a version made of a fact, if it was written before versions told of it themselves."""
        parent, after = folder.manifest.parent, folder.fact(fact_id)
        before = None if parent == BASE_VERSION else self.artifacts.folder(parent).fact(fact_id)
        return change_of(before, after) if before or after else None

    # Their weights and names

    def load_deltas(self, number: int, base_digest: str) -> dict[int, Delta]:
        """Return a version's update for each edited layer, checked against its manifest; none for the base.

        Raises as `Artifacts.delta_file`, and `CorruptArtifact` where the file cannot be read.
        """
        from errata import deltas  # torch is needed for nothing else here

        return {} if number == BASE_VERSION else deltas.read(self.artifacts.delta_file(number, base_digest))

    def require_weights(self, number: int) -> None:
        """Raise what `load_deltas` would raise for the home's base model."""
        if number != BASE_VERSION:
            self.artifacts.delta_file(number, BoundBase.of(self._home).digest)

    def delete(self, number: int) -> None:
        """Drop a version's weights; its manifest and facts stay in the home folder as history.

        Raises `UnknownVersion`, and `Conflict` where it is the active one, or the base, or has a name:
        `ProtectedAlias` where that is protected.
        """
        if number == BASE_VERSION:
            raise Conflict("version 0 is the base model and cannot be deleted")
        with self.activations.deciding() as active:
            if number == active:
                raise Conflict(f"version {number} is active; activate another one before deleting it")
            if called := self._aliases.of(number):
                require_unprotected(*called)
                names_of = ", ".join(alias.name for alias in called)
                raise Conflict(f"version {number} is called {names_of}; take the name away before deleting it")
            self.artifacts.delete(number)

    def name(self, alias: str, version: VersionName) -> int:
        """Let an alias stand for a version, which is never dropped then; return its number.

        Raises as `number` and `require_weights`, and `ProtectedAlias` where it is protected and stands for another one.
        """
        with self.activations.deciding():
            number = self.number(version)
            self.require_weights(number)
            self._aliases.put(alias, number)
            return number

    def take_name(self, name: str) -> None:
        """Take an alias away. Raises `UnknownAlias`, `ProtectedAlias`."""
        with self.activations.deciding():
            self._aliases.remove(name)

    def protect_name(self, name: str, who: str | None = None, note: str | None = None) -> Alias:
        """Let an alias neither be moved nor taken away, nor its version be deleted, until `unprotect_name`.

        Raises `UnknownAlias`.
        """
        with self.activations.deciding():
            return self._aliases.protect(name, Protection(at=now(), who=who, note=note))

    def unprotect_name(self, name: str) -> Alias:
        """Undo `protect_name`; without effect where it is not protected. Raises `UnknownAlias`."""
        with self.activations.deciding():
            return self._aliases.protect(name, None)


def _version_of(folder: VersionFolder) -> Version:
    manifest = folder.manifest
    shared = {name: getattr(manifest, name) for name in Version.model_fields if hasattr(manifest, name)}
    num_bytes, digest = sum(file.bytes for file in manifest.files.values()), manifest.files[DELTA].sha256
    return Version(**shared, bytes=num_bytes, digest=digest, dropped=folder.is_dropped)
