"""The version folders: manifest, fact set, its changes and delta of each version, whole or not there at all.

A version is written under `tmp/`, synced and then renamed to `versions/<number>`; the rename gives it its number.
A deleted version leaves its manifest, its facts and a tombstone, so that its number is never used again. One whose
weights were dropped to save room lacks its delta, and has a mark that says so: it can be built again.
"""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from errata_client.records import FactChange, Record, StoredFact

from errata.errors import CorruptArtifact, UnknownVersion, WeightsDropped, WrongBaseModel
from errata.files import durable
from errata.files.checksums import with_checksum
from errata_registry.commits import FOLDER, Commits
from errata_registry.stored import StoredFile, now, text_of
from errata_registry.versions.folder import CHANGES, DELTA, DROPPED, FACTS, MANIFEST, TOMBSTONE, VersionFolder
from errata_registry.versions.manifest import Manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version's files, written but without a number. Leaving it as a context removes what no version was made of."""

    folder: Path
    files: dict[str, StoredFile]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Artifacts:
    """The versions in a home folder."""

    def __init__(self, home: Path, commits: Commits = FOLDER) -> None:
        self._commits = commits
        self._versions = home / "versions"
        self._scratch = home / "tmp"
        self._edits: dict[int, str | None] = {}  # the edit of each version, which never changes
        for folder in (self._versions, self._scratch):
            folder.mkdir(parents=True, exist_ok=True)

    # Writing

    def scratch_folder(self) -> Path:
        """Make an empty folder where nobody looks. One that is left behind is swept after a day."""
        return Path(tempfile.mkdtemp(prefix="version-", dir=self._scratch))

    def draft(
        self, facts: Iterable[StoredFact], changes: Iterable[FactChange], write_delta: Callable[[Path], object]
    ) -> Draft:
        """Write a version's files where nobody looks. `write_delta` makes the delta at the path it is given."""
        folder = self.scratch_folder()
        try:
            _write_lines(folder / FACTS, facts)
            _write_lines(folder / CHANGES, changes)
            write_delta(folder / DELTA)
            return Draft(folder, {name: StoredFile.synced(folder / name) for name in (FACTS, CHANGES, DELTA)})
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def publish(self, draft: Draft, manifest: Manifest) -> Manifest:
        """Make a draft a version, whose manifest is `manifest` with the next free number and the files of the draft."""
        number = max(self.all_numbers(), default=0) + 1
        while True:
            numbered = manifest.model_copy(update={"id": number, "files": draft.files})
            durable.write(draft.folder / MANIFEST, text_of(numbered, indent=1))
            if self._commits.place(draft.folder, self._path(number)):
                return numbered
            number += 1

    def delete(self, number: int) -> None:
        """Drop a version's delta and leave a tombstone. Raises `UnknownVersion`."""
        self._remove_delta(number, TOMBSTONE)

    def drop(self, number: int) -> None:
        """Drop a version's delta, which can be built again. Raises `UnknownVersion`."""
        self._remove_delta(number, DROPPED)

    def _remove_delta(self, number: int, mark: str) -> None:
        folder = self.existing(number).path
        # The mark first: a version without its delta and without a mark would be a damaged one.
        self._commits.write(folder / mark, with_checksum(json.dumps({"at": now().isoformat()})))
        self._commits.remove(folder / DELTA)

    def restore(self, manifest: Manifest, draft: Draft) -> Manifest:
        """Put a draft's delta, which was built again, into its version's folder; return the manifest that names it.

        Raises `UnknownVersion` where the version was deleted meanwhile.
        """
        folder = self.existing(manifest.id).path
        restored = manifest.model_copy(update={"files": {**manifest.files, DELTA: draft.files[DELTA]}})
        self._commits.move(draft.folder / DELTA, folder / DELTA)
        self._commits.write(folder / MANIFEST, text_of(restored, indent=1))
        self._commits.remove(folder / DROPPED)  # last: until then the version counts as dropped
        return restored

    # Reading

    def numbers(self) -> list[int]:
        """Return the numbers of the versions that are there, ascending; deleted ones are not."""
        return [number for number in self.all_numbers() if not self.folder(number).is_deleted]

    def all_numbers(self) -> list[int]:
        """Return all numbers that were given, ascending, those of deleted versions included."""
        return sorted(int(name) for name in os.listdir(self._versions) if name.isdigit())

    def folder(self, number: int) -> VersionFolder:
        """Return the folder of a version, which may be deleted. Raises `UnknownVersion`."""
        path = self._path(number)
        if not path.exists():
            raise UnknownVersion(f"there is no version {number}")
        return VersionFolder(path, f"version {number}")

    def existing(self, number: int) -> VersionFolder:
        """Return the folder of a version. Raises `UnknownVersion`, also for a deleted one."""
        folder = self.folder(number)
        if folder.is_deleted:
            raise UnknownVersion(f"version {number} was deleted")
        return folder

    def manifest(self, number: int) -> Manifest:
        """Return a version's manifest. Raises as `existing`, and `CorruptArtifact`."""
        return self.existing(number).manifest

    def of_edit(self, edit_id: str) -> Manifest | None:
        """Return the version that an edit made, if any. Versions that cannot be read are passed over."""
        for number in reversed(self.all_numbers()):
            try:
                if number not in self._edits:
                    self._edits[number] = self.folder(number).manifest.edit
                if self._edits[number] == edit_id and not self.folder(number).is_deleted:
                    return self.manifest(number)
            except (CorruptArtifact, UnknownVersion) as error:  # unknown: it was deleted at this moment
                logger.warning("looking for the version of %s: %s", edit_id, error)
        return None

    def delta_file(self, number: int, base_digest: str) -> Path:
        """Return the path of a version's delta, after its checksum and its base model were found right.

        Raises:
            UnknownVersion: there is no such version, or it was deleted.
            WrongBaseModel: it was built on other base weights than those with `base_digest`.
            WeightsDropped: it was dropped.
            CorruptArtifact: the file is missing, truncated or altered.
        """
        folder = self.existing(number)
        built_on = folder.manifest.base_model
        if folder.is_dropped:
            raise WeightsDropped(
                f"the weights of version {number} were dropped to save room; they can be built again from its facts "
                f"(POST /versions/{number}/rebuild)"
            )
        if built_on.digest != base_digest:
            raise WrongBaseModel(
                f"version {number} was built on {built_on.name} ({built_on.digest[:12]}), "
                f"not on the base weights that are loaded ({base_digest[:12]})"
            )
        return self.fetched(folder).checked(DELTA)

    def fetched(self, folder: VersionFolder) -> VersionFolder:
        """Return a version's folder when its delta is here, if it is anywhere."""
        self._commits.fetch(folder.path / DELTA)
        return folder

    def delta_bytes(self, number: int) -> int:
        """Return the size of a version's delta, wherever it is; 0 where it is gone."""
        return self._commits.size(self._path(number) / DELTA)

    def _path(self, number: int) -> Path:
        return self._versions / f"{number:06d}"


def _write_lines(path: Path, records: Iterable[Record]) -> None:
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")
