"""The version folders: a manifest, the fact set and the delta of each version, whole or not there at all.

A version is written under `tmp/`, synced and then renamed to `versions/<number>`; the rename gives it its number.
A deleted version leaves its manifest, its facts and a tombstone, so that its number is never used again.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from errata import durable
from errata.errors import CorruptArtifact, UnknownVersion, WrongBaseModel
from errata.registry.records import Manifest, StoredFact, StoredFile, now

MANIFEST = "manifest.json"
FACTS = "facts.jsonl"
DELTA = "delta.safetensors"
TOMBSTONE = "deleted.json"
LEFTOVER_AGE_S = 86_400

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version's files, written but without a number."""

    folder: Path
    files: dict[str, StoredFile]

    def discard(self) -> None:
        """Throw the files away."""
        shutil.rmtree(self.folder)


class Artifacts:
    """The versions in a home folder."""

    def __init__(self, home: Path) -> None:
        self._versions = home / "versions"
        self._scratch = home / "tmp"
        for folder in (self._versions, self._scratch):
            folder.mkdir(parents=True, exist_ok=True)

    # Writing

    def draft(self, facts: Sequence[StoredFact], write_delta: Callable[[Path], object]) -> Draft:
        """Write a version's files where nobody looks. `write_delta` makes the delta at the path it is given."""
        folder = Path(tempfile.mkdtemp(prefix="version-", dir=self._scratch))
        lines = "".join(fact.model_dump_json() + "\n" for fact in facts)
        (folder / FACTS).write_text(lines, encoding="utf-8")
        write_delta(folder / DELTA)
        files = {}
        for name in (FACTS, DELTA):
            durable.sync(folder / name)
            files[name] = StoredFile(sha256=durable.sha256(folder / name), bytes=(folder / name).stat().st_size)
        return Draft(folder, files)

    def publish(self, draft: Draft, manifest: Manifest) -> Manifest:
        """Give a draft the next free number. Its manifest is `manifest` with that number and the draft's files."""
        number = max(self._all_numbers(), default=0) + 1
        while True:
            numbered = manifest.model_copy(update={"id": number, "files": draft.files})
            durable.write(draft.folder / MANIFEST, numbered.model_dump_json(indent=1) + "\n")
            draft.folder.chmod(0o755)
            try:
                draft.folder.rename(self._folder(number))
            except OSError:
                if not self._folder(number).exists():
                    raise
                number += 1
                continue
            durable.sync(self._versions)
            return numbered

    def delete(self, number: int) -> None:
        """Drop a version's delta and leave a tombstone. Raises `UnknownVersion`."""
        folder = self._existing(number)
        durable.write(folder / TOMBSTONE, json.dumps({"at": now().isoformat()}) + "\n")
        (folder / DELTA).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove drafts that a worker left behind when it died, long ago."""
        for folder in self._scratch.glob("version-*"):
            if folder.stat().st_mtime < time.time() - LEFTOVER_AGE_S:
                shutil.rmtree(folder, ignore_errors=True)

    # Reading

    def numbers(self) -> list[int]:
        """The versions that are there, ascending; deleted ones are not."""
        return [number for number in self._all_numbers() if not (self._folder(number) / TOMBSTONE).exists()]

    def manifests(self) -> Iterator[Manifest]:
        """The manifests of the versions that are there, ascending."""
        for number in self.numbers():
            yield self.manifest(number)

    def manifest(self, number: int) -> Manifest:
        """Raises `UnknownVersion`, also for a deleted one; `CorruptArtifact`."""
        path = self._existing(number) / MANIFEST
        try:
            return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CorruptArtifact(f"version {number}: {path.name} cannot be read: {error}") from error

    def of_edit(self, edit_id: str) -> Manifest | None:
        """The version that an edit made, if there is one. One that cannot be read is passed over."""
        for number in reversed(self.numbers()):
            try:
                found = self.manifest(number)
            except (CorruptArtifact, UnknownVersion) as error:  # unknown: it was deleted at this moment
                logger.warning("looking for the version of %s: %s", edit_id, error)
                continue
            if found.edit == edit_id:
                return found
        return None

    def facts(self, number: int) -> tuple[StoredFact, ...]:
        """A version's fact set, in canonical order. Raises `UnknownVersion`, `CorruptArtifact`."""
        self._check(self.manifest(number), FACTS)
        with (self._folder(number) / FACTS).open(encoding="utf-8") as lines:
            return tuple(StoredFact.model_validate_json(line) for line in lines)

    def delta_file(self, number: int, base_digest: str) -> Path:
        """Path of a version's delta, after its checksum and its base model were found right.

        Raises:
            UnknownVersion: there is no such version, or it was deleted.
            WrongBaseModel: it was built on other base weights than those with `base_digest`.
            CorruptArtifact: the file is missing, truncated or altered.
        """
        manifest = self.manifest(number)
        if manifest.base_model.digest != base_digest:
            raise WrongBaseModel(
                f"version {number} was built on {manifest.base_model.name} ({manifest.base_model.digest[:12]}), "
                f"not on the base weights that are loaded ({base_digest[:12]})"
            )
        self._check(manifest, DELTA)
        return self._folder(number) / DELTA

    def _check(self, manifest: Manifest, name: str) -> None:
        path = self._folder(manifest.id) / name
        expected = manifest.files[name]
        if not path.exists():
            raise CorruptArtifact(f"version {manifest.id}: {name} is missing")
        size = path.stat().st_size
        if size != expected.bytes:
            raise CorruptArtifact(f"version {manifest.id}: {name} has {size} bytes instead of {expected.bytes}")
        if durable.sha256(path) != expected.sha256:
            raise CorruptArtifact(f"version {manifest.id}: {name} does not have the checksum that its manifest says")

    def _existing(self, number: int) -> Path:
        folder = self._folder(number)
        if (folder / TOMBSTONE).exists():
            raise UnknownVersion(f"version {number} was deleted")
        if not folder.exists():
            raise UnknownVersion(f"there is no version {number}")
        return folder

    def _folder(self, number: int) -> Path:
        return self._versions / f"{number:06d}"

    def _all_numbers(self) -> list[int]:
        return sorted(int(name) for name in os.listdir(self._versions) if name.isdigit())
