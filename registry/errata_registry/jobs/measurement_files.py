"""What is kept of each measurement in the home folder: its request, its outcome, and the files that came of it."""

from __future__ import annotations

import hashlib
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from errata.errors import CorruptArtifact, UnknownMeasurement
from errata.files import durable
from errata_registry.jobs.measurement_kinds import Asked, Measured, MeasurementKind

Form = TypeVar("Form", bound=BaseModel)

REQUEST = "request.json"
OUTCOME = "outcome.json"
CASES = "cases.jsonl"
TRACED = "trace.json"


class AcceptedMeasurement(BaseModel, Generic[Asked]):
    """`request.json`: the request, who sent it and when, and how a repetition of it is known again. `shown` is what the
    record that it begins with says of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    id: str
    created_at: datetime
    by: str | None = None
    idempotency_key: str | None = None
    body_sha256: str
    shown: dict[str, Any]
    request: Asked


def body_sha256(request: BaseModel) -> str:
    """What two requests share that ask for the same."""
    return hashlib.sha256(request.model_dump_json().encode()).hexdigest()


class MeasurementFiles(Generic[Asked, Measured]):
    """The folder of one kind: `<id>/request.json`, once it has ended `<id>/outcome.json`, and beside them what it
    gives: `cases.jsonl`, `trace.json`, figures."""

    def __init__(self, kind: MeasurementKind[Asked, Measured], home: Path) -> None:
        self.form: type[AcceptedMeasurement[Asked]] = AcceptedMeasurement[kind.request]  # type: ignore[name-defined]
        self._kind = kind
        self._folder = home / f"{kind.name}s"
        self._folder.mkdir(parents=True, exist_ok=True)

    def ids(self) -> list[str]:
        """All of them, oldest first."""
        names = (path.parent.name for path in self._folder.glob(f"{self._kind.prefix}_*/{REQUEST}"))
        return sorted(filter(self._kind.is_id, names))

    def folder(self, measurement_id: str) -> Path:
        """Where its files lie, or would. Raises `UnknownMeasurement` for what is no id."""
        if not self._kind.is_id(measurement_id):
            raise UnknownMeasurement(f"there is no {self._kind.name} {measurement_id!r}")
        return self._folder / measurement_id

    def existing(self, measurement_id: str, name: str) -> Path:
        """One of the files that came of it. Raises `UnknownMeasurement`, `CorruptArtifact`."""
        path = self.folder(measurement_id) / name
        if not path.exists():
            raise CorruptArtifact(f"{measurement_id}: {name} is missing")
        return path

    def accept(self, accepted: AcceptedMeasurement[Asked]) -> None:
        """Keep a request; it is on the disk when this returns."""
        folder = self.folder(accepted.id)
        folder.mkdir()
        durable.write(folder / REQUEST, accepted.model_dump_json())
        durable.sync(self._folder)

    def withdraw(self, measurement_id: str) -> None:
        """Forget a request that was never acknowledged."""
        shutil.rmtree(self.folder(measurement_id))

    def accepted(self, measurement_id: str) -> AcceptedMeasurement[Asked]:
        """Raises `UnknownMeasurement`, `CorruptArtifact`."""
        path = self.folder(measurement_id) / REQUEST
        if not path.exists():
            raise UnknownMeasurement(f"there is no {self._kind.name} {measurement_id!r}")
        return _read(path, self.form)

    def finish(self, record: Measured) -> Measured:
        """Keep how it ended. What ended stays as it ended: the outcome that counts is returned."""
        if durable.write_once(self.folder(record.id) / OUTCOME, record.model_dump_json(indent=1)):
            return record
        outcome = self.outcome(record.id)
        assert outcome is not None
        return outcome

    def outcome(self, measurement_id: str) -> Measured | None:
        """How it ended, or None while it has not. Raises `UnknownMeasurement`, `CorruptArtifact`."""
        path = self.folder(measurement_id) / OUTCOME
        return _read(path, self._kind.record) if path.exists() else None


def _read(path: Path, kind: type[Form]) -> Form:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptArtifact(f"{path.parent.name}: {path.name} cannot be read: {error}") from error
