"""`probes.json`: the prompts with expected answers that every new version must pass."""

from collections.abc import Sequence
from pathlib import Path

from errata_client.records import Probe

from errata.errors import CorruptArtifact
from errata_registry.commits import FOLDER, Commits
from errata_registry.stored import StoredRecord, read_record, text_of


class _Content(StoredRecord):
    probes: tuple[Probe, ...]


class Probes:
    """The list of probes of a home folder."""

    def __init__(self, home: Path, commits: Commits = FOLDER) -> None:
        self._commits = commits
        self._path = home / "probes.json"

    def all(self) -> tuple[Probe, ...]:
        """Return the probes, in the order in which they were put. Raises `CorruptArtifact`."""
        try:
            return read_record(self._path, _Content, f"the file of probes {self._path}").probes
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise CorruptArtifact(f"the file of probes {self._path} cannot be read: {error}") from error

    def replace(self, probes: Sequence[Probe]) -> None:
        """Put these in place of those that were there; they are on the disk when this returns."""
        self._commits.write(self._path, text_of(_Content(probes=tuple(probes)), indent=1))
