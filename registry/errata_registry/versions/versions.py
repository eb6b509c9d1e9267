"""Versions as they are shown and handled: with what changes of them, beside the folder that never does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from errata_client.records import BASE_VERSION, Evaluation, Page, Version, VersionStatus

from errata.errors import Conflict, CorruptArtifact
from errata_registry.home import BoundBase
from errata_registry.jobs.requests import EvaluationRequest
from errata_registry.jobs.store import JobStore
from errata_registry.pages import page_of
from errata_registry.serving.activations import Activations
from errata_registry.serving.aliases import Aliases
from errata_registry.versions.fact_index import FactIndex
from errata_registry.versions.fact_sets import FactSets
from errata_registry.versions.store import Artifacts

if TYPE_CHECKING:
    from errata.deltas import Delta


class Versions:
    """The versions of a home folder with their status, names and newest evaluation."""

    def __init__(
        self,
        home: Path,
        artifacts: Artifacts,
        activations: Activations,
        aliases: Aliases,
        evaluations: JobStore[EvaluationRequest, Evaluation],
    ) -> None:
        self.fact_sets = FactSets(artifacts)
        self._home = home
        self._artifacts = artifacts
        self._activations = activations
        self._aliases = aliases
        self._evaluations = evaluations

    def get(self, number: int) -> Version:
        """Return one version; 0 is the base. Raises `UnknownVersion`, also for a deleted one; `CorruptArtifact`."""
        self._evaluations.folder.unfinished()  # which takes in what has ended since
        return self._shown(number, self._activations.active(), self._aliases.all())

    def page(self, limit: int = 20, after: int | None = None) -> Page[Version]:
        """Return a part of the list of versions, newest first, the base last. `after` is a number.

        Versions that cannot be read are left out; `errata verify` tells of them.
        """
        self._evaluations.folder.unfinished()
        active, aliases = self._activations.active(), self._aliases.all()
        found: list[Version] = []
        for number in [*reversed(self._artifacts.all_numbers()), BASE_VERSION]:
            if len(found) > limit:
                break
            if (after is None or number < after) and not self._is_deleted(number):
                try:
                    found.append(self._shown(number, active, aliases))
                except CorruptArtifact:
                    continue
        return page_of(found, limit, lambda version: str(version.id))

    def _is_deleted(self, number: int) -> bool:
        return number != BASE_VERSION and self._artifacts.folder(number).is_deleted

    def _shown(self, number: int, active: int, aliases: Mapping[str, int]) -> Version:
        if number == BASE_VERSION:
            bound = BoundBase.of(self._home)
            version = Version(id=BASE_VERSION, digest=bound.digest, created_at=bound.bound_at)
        else:
            version = self._artifacts.version(number)
        evaluated = self._evaluations.newest_success_of(number)
        changes = {
            "status": VersionStatus.ACTIVE if number == active else version.status,
            "aliases": tuple(name for name, named in aliases.items() if named == number),
            "evaluation": evaluated and evaluated.summary(),
        }
        return version.model_copy(update=changes)

    def facts(self, number: int) -> FactIndex:
        """Return a version's fact set; the base has none. Raises `UnknownVersion`, `CorruptArtifact`."""
        return self.fact_sets.of(number)

    def load_deltas(self, number: int, base_digest: str) -> dict[int, Delta]:
        """Return a version's update for each edited layer, checked against its manifest; none for the base.

        Raises:
            UnknownVersion: there is no such version, or it was deleted.
            WrongBaseModel: it was built on other base weights than those with `base_digest`.
            WeightsDropped: they were dropped to save room.
            CorruptArtifact: the file is missing, truncated, altered or unreadable.
        """
        from errata import deltas  # torch is needed for nothing else here

        return {} if number == BASE_VERSION else deltas.read(self._artifacts.delta_file(number, base_digest))

    def require_weights(self, number: int) -> None:
        """Raise what `load_deltas` would raise for the home's base model."""
        if number != BASE_VERSION:
            self._artifacts.delta_file(number, BoundBase.of(self._home).digest)

    def delete(self, number: int) -> None:
        """Drop a version's weights; its manifest and facts stay in the home folder as history.

        Raises:
            UnknownVersion: there is no such version.
            Conflict: it is the active one, or the base, or has a name.
        """
        if number == BASE_VERSION:
            raise Conflict("version 0 is the base model and cannot be deleted")
        with self._activations.deciding() as active:
            if number == active:
                raise Conflict(f"version {number} is active; activate another one before deleting it")
            if names := self._aliases.names(number):
                raise Conflict(f"version {number} is called {', '.join(names)}; take the name away before deleting it")
            self._artifacts.delete(number)

    def name(self, name: str, number: int) -> None:
        """Let an alias stand for a version, which is never dropped then.

        Raises:
            UnknownVersion: there is no such version.
            WeightsDropped, CorruptArtifact: its weights are not there.
        """
        with self._activations.deciding():
            self.require_weights(number)
            self._aliases.put(name, number)

    def take_name(self, name: str) -> None:
        """Take an alias away. Raises `UnknownAlias`."""
        with self._activations.deciding():
            self._aliases.remove(name)
