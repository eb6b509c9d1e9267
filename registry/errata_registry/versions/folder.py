"""The files of one version, in the folder of its number or wherever they were unpacked."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from errata_client.records import FactChange, Record, StoredFact
from errata_client.records.wordings import in_words

from errata.errors import CorruptArtifact
from errata_registry.stored import read_lines, read_record
from errata_registry.versions.manifest import Manifest

MANIFEST = "manifest.json"
FACTS = "facts.jsonl"
CHANGES = "changes.jsonl"
DELTA = "delta.safetensors"
TOMBSTONE = "deleted.json"
DROPPED = "dropped.json"

Line = TypeVar("Line", bound=Record)
Read = TypeVar("Read")


@dataclass(frozen=True)
class VersionFolder:
    """A folder with `MANIFEST`, `FACTS`, `CHANGES` and `DELTA`.

    The delta is gone where the version was deleted, which a `TOMBSTONE` marks, or its weights were dropped (`DROPPED`).

    Attributes:
        called: what errors call it, such as `version 3`.
    """

    path: Path
    called: str

    @property
    def is_deleted(self) -> bool:
        return (self.path / TOMBSTONE).exists()

    @property
    def is_dropped(self) -> bool:
        return (self.path / DROPPED).exists()

    @cached_property
    def manifest(self) -> Manifest:
        """Raises `CorruptArtifact`."""
        return self._read(lambda: read_record(self.path / MANIFEST, Manifest, f"{self.called}: {MANIFEST}"))

    def facts(self) -> tuple[StoredFact, ...]:
        """Return the fact set, in canonical order. Raises `CorruptArtifact`."""
        return self._lines(FACTS, StoredFact)

    def changes(self) -> tuple[FactChange, ...]:
        """Return how its fact set differs from its parent's. Raises `CorruptArtifact`."""
        return self._lines(CHANGES, FactChange)

    def fact(self, fact_id: str) -> StoredFact | None:
        """Return one fact, without making objects of the others. Raises `CorruptArtifact`."""
        return self._line_of(FACTS, fact_id, StoredFact)

    def change(self, fact_id: str) -> FactChange | None:
        """Return what it made of one fact, without making objects of the rest. Raises `CorruptArtifact`."""
        return self._line_of(CHANGES, fact_id, FactChange)

    def checked(self, name: str) -> Path:
        """Return the path of one of its files, found to be what the manifest says. Raises `CorruptArtifact`."""
        path, expected = self.path / name, self.manifest.files.get(name)
        if expected is None:
            raise CorruptArtifact(f"{self.called}: {MANIFEST} does not name {name}")
        expected.require(path, self.called)
        return path

    def _lines(self, name: str, kind: type[Line]) -> tuple[Line, ...]:
        path = self.checked(name)
        return self._read(lambda: read_lines(path, kind, f"{self.called}: {name}"))

    def _line_of(self, name: str, fact_id: str, kind: type[Line]) -> Line | None:
        wanted = f'"id":"{fact_id}"'  # as pydantic writes it; inside of a text, the quotes would be escaped
        path = self.checked(name)
        try:
            content = path.read_text(encoding="utf-8")
            line = next((line for line in content.split("\n") if wanted in line), None) if wanted in content else None
            with in_words(kind):
                return None if line is None else kind.model_validate_json(line, extra="ignore")
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"{self.called}: {name} cannot be read: {error}") from error

    def _read(self, read: Callable[[], Read]) -> Read:
        try:
            return read()
        except OSError as error:
            raise CorruptArtifact(f"{self.called}: {Path(error.filename).name} cannot be read: {error}") from error
