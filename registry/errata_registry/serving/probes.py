"""`probes.json`: the prompts with expected answers that every new version must pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from errata.errors import CorruptArtifact
from errata.files import durable
from errata_registry.records import Probe


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int = 1
    probes: tuple[Probe, ...]


class Probes:
    """The list of probes of a home folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, home: Path) -> Probes:
        """Those of a home folder."""
        return cls(home / "probes.json")

    def all(self) -> tuple[Probe, ...]:
        """The probes, in the order in which they were put. Raises `CorruptArtifact`."""
        try:
            return _Content.model_validate_json(self._path.read_text(encoding="utf-8")).probes
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"the file of probes {self._path} cannot be read: {error}") from error

    def replace(self, probes: Sequence[Probe]) -> None:
        """Put these in place of those that were there; they are on the disk when this returns."""
        durable.write(self._path, _Content(probes=tuple(probes)).model_dump_json(indent=1) + "\n")
