"""What a job works for, and how it stands: an edit, an evaluation or a trace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from errata_registry.jobs.measurement_kinds import Asked, Measured
from errata_registry.jobs.measurements import Measurements
from errata_registry.records import Edit, EditRequest, EditStatus, ProblemItem
from errata_registry.registry import Registry
from errata_registry.versions.change import places_of

from errata.errors import FactConflict, UnknownFacts


class Standing(Protocol):
    """A record of it."""

    @property
    def status(self) -> EditStatus: ...
    @property
    def attempts(self) -> int: ...
    @property
    def started_at(self) -> datetime | None: ...


Record = TypeVar("Record", bound=Standing)
Told = TypeVar("Told", bound=Standing, covariant=True)


class Work(Protocol[Told]):
    """One edit or one measurement.

    Attributes:
        id: its id.
        called: what it is, in a word.
    """

    @property
    def id(self) -> str: ...
    @property
    def called(self) -> str: ...
    def record(self) -> Told:
        """How it stands."""

    def update(self, **changes: Any) -> Told:
        """Change its record, unless it has ended; how it stands then."""

    def cancel_requested(self) -> bool:
        """Whether it is to stop."""

    def end_as_cancelled(self) -> Told:
        """End it because it was to stop."""

    def places_of(self, error: Exception) -> tuple[ProblemItem, ...]:
        """The places in its request that are at fault, where the error is about such."""


@dataclass(frozen=True, slots=True)
class EditWork:
    """An edit."""

    registry: Registry
    id: str
    called: str = "edit"

    def record(self) -> Edit:
        return self.registry.edit(self.id)

    def update(self, **changes: Any) -> Edit:
        return self.registry.update_edit(self.id, **changes)

    def cancel_requested(self) -> bool:
        return self.registry.cancel_requested(self.id)

    def end_as_cancelled(self) -> Edit:
        return self.registry.end_as_cancelled(self.id)

    def places_of(self, error: Exception) -> tuple[ProblemItem, ...]:
        if not isinstance(error, FactConflict | UnknownFacts):
            return ()
        request = self.registry.edit_files.accepted(self.id).request
        assert isinstance(request, EditRequest)
        return tuple(places_of(error, request))


@dataclass(frozen=True, slots=True)
class MeasurementWork(Generic[Asked, Measured]):
    """An evaluation or a trace."""

    measurements: Measurements[Asked, Measured]
    id: str

    @property
    def called(self) -> str:
        return self.measurements.kind.name

    def record(self) -> Measured:
        return self.measurements.record(self.id)

    def update(self, **changes: Any) -> Measured:
        return self.measurements.update(self.id, **changes)

    def cancel_requested(self) -> bool:
        return self.measurements.cancel_requested(self.id)

    def end_as_cancelled(self) -> Measured:
        return self.measurements.end_as_cancelled(self.id)

    def places_of(self, error: Exception) -> tuple[ProblemItem, ...]:
        return ()
