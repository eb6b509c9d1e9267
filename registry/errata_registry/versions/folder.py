"""The files of one version, in the folder of its number or wherever they were unpacked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from errata.errors import CorruptArtifact
from errata.files import durable
from errata_registry.records import FactChange, Manifest, StoredFact

MANIFEST = "manifest.json"
FACTS = "facts.jsonl"
CHANGES = "changes.jsonl"
DELTA = "delta.safetensors"
TOMBSTONE = "deleted.json"
DROPPED = "dropped.json"

Record = TypeVar("Record", bound=BaseModel)


@dataclass(frozen=True)
class VersionFolder:
    """A folder with `MANIFEST`, `FACTS`, `CHANGES` and `DELTA`. Of a deleted version, which a `TOMBSTONE` marks, and of
    one whose weights were dropped, marked `DROPPED`, the delta is gone.

    `called` is what errors call it, `version 3` for instance.
    """

    path: Path
    called: str

    @property
    def is_deleted(self) -> bool:
        """Whether the version was deleted."""
        return (self.path / TOMBSTONE).exists()

    @property
    def is_dropped(self) -> bool:
        """Whether its weights were dropped."""
        return (self.path / DROPPED).exists()

    @property
    def delta_bytes(self) -> int:
        """Room that its weights take."""
        delta = self.path / DELTA
        return delta.stat().st_size if delta.exists() else 0

    @cached_property
    def manifest(self) -> Manifest:
        """Raises `CorruptArtifact`."""
        try:
            return Manifest.model_validate_json((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"{self.called}: {MANIFEST} cannot be read: {error}") from error

    def facts(self) -> tuple[StoredFact, ...]:
        """The fact set, in canonical order. Raises `CorruptArtifact`."""
        return self._records(FACTS, StoredFact)

    def changes(self) -> tuple[FactChange, ...]:
        """How it differs from its parent's. Raises `CorruptArtifact`."""
        return self._records(CHANGES, FactChange)

    def fact(self, fact_id: str) -> StoredFact | None:
        """One fact, without reading the others. Raises `CorruptArtifact`."""
        return self._record_of(FACTS, fact_id, StoredFact)

    def change(self, fact_id: str) -> FactChange | None:
        """What it made of one fact, without reading the rest. Raises `CorruptArtifact`."""
        return self._record_of(CHANGES, fact_id, FactChange)

    def checked(self, name: str) -> Path:
        """Path of one of its files, after that was found to be what the manifest says. Raises `CorruptArtifact`."""
        path, expected = self.path / name, self.manifest.files.get(name)
        if expected is None:
            raise CorruptArtifact(f"{self.called}: {MANIFEST} does not name {name}")
        if not path.exists():
            raise CorruptArtifact(f"{self.called}: {name} is missing")
        size = path.stat().st_size
        if size != expected.bytes:
            raise CorruptArtifact(f"{self.called}: {name} has {size} bytes instead of {expected.bytes}")
        if durable.sha256(path) != expected.sha256:
            raise CorruptArtifact(f"{self.called}: {name} does not have the checksum that its manifest says")
        return path

    def _records(self, name: str, kind: type[Record]) -> tuple[Record, ...]:
        with self.checked(name).open(encoding="utf-8") as lines:
            return tuple(self._parsed(name, line, kind) for line in lines)

    def _record_of(self, name: str, fact_id: str, kind: type[Record]) -> Record | None:
        wanted = f'"id":"{fact_id}"'  # as pydantic writes it; inside of a text, the quotes would be escaped
        try:
            content = (self.path / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CorruptArtifact(f"{self.called}: {name} cannot be read: {error}") from error
        if wanted not in content:
            return None
        line = next(line for line in content.split("\n") if wanted in line)
        return self._parsed(name, line, kind)

    def _parsed(self, name: str, line: str, kind: type[Record]) -> Record:
        try:
            return kind.model_validate_json(line)
        except ValueError as error:
            raise CorruptArtifact(f"{self.called}: {name} cannot be read: {error}") from error
