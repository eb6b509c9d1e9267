"""The activation journal: which version served when. One JSON line for each activation, oldest first.

It is the truth about what serves. Whoever publishes or activates holds its lock, so that a decision taken on what is
active still holds when it is written.

`activations.checksum.json` beside it knows the checksum and the length that it had after the last activation, so that
a changed line and a missing one are both seen. A journal that was never written to since there are checksums has none.
"""

import hashlib
import logging
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from errata_client.records import BASE_VERSION, ActivationEntry
from errata_client.records.wordings import in_words

from errata.errors import CorruptArtifact
from errata.files.lock import Lock
from errata_registry.commits import FOLDER, Commits
from errata_registry.stored import StoredFile, now, read_record, text_of

ROLLBACK = "rollback"

logger = logging.getLogger(__name__)


class Journal:
    """The journal file and its lock, which holds between threads and between processes."""

    def __init__(self, home: Path, commits: Commits = FOLDER) -> None:
        self._commits = commits
        self._path = home / "activations.jsonl"
        self._checksum = home / "activations.checksum.json"
        self._lock = Lock(home / "activations.lock")
        self._read: tuple[tuple[int, int, int], tuple[ActivationEntry, ...]] = (0, 0, 0), ()

    def locked(self) -> AbstractContextManager[None]:
        """Keep everyone else from publishing and activating. The thread that holds the lock may enter it again."""
        return self._commits.deciding(self._lock)

    def entries(self) -> tuple[ActivationEntry, ...]:
        """Return all activations, oldest first. A torn last line, left by a crash, never happened.

        Raises `CorruptArtifact` where a line before the last cannot be read, or is not what was written.
        """
        state, content = (0, 0, 0), b""
        try:
            with self._path.open("rb") as file:  # on a network file system, opening asks how the file is now
                if _state_of(file) == self._read[0]:
                    return self._read[1]
            expected = self._expected()  # before the lines, which are written first
            with self._path.open("rb") as file:
                state, content = _state_of(file), file.read()
        except FileNotFoundError:
            expected = self._expected()
        if expected and hashlib.sha256(content[: expected.bytes]).hexdigest() != expected.sha256:
            raise CorruptArtifact(
                f"the activation journal {self._path} cannot be read: a line that was written is missing or damaged. "
                f"Put it back from a copy; or remove {self._checksum.name} beside it, and what it holds now counts"
            )
        whole_lines = content[: content.rfind(b"\n") + 1].splitlines()
        try:
            with in_words(ActivationEntry):
                entries = tuple(ActivationEntry.model_validate_json(line, extra="ignore") for line in whole_lines)
        except ValueError as error:
            raise CorruptArtifact(f"the activation journal {self._path} cannot be read: {error}") from error
        self._read = state, entries
        return entries

    def _expected(self) -> StoredFile | None:
        """Return what the journal must begin with, None where that is not known."""
        try:
            return read_record(self._checksum, StoredFile)
        except FileNotFoundError:
            return None
        except CorruptArtifact:
            logger.warning("%s is damaged, and is written anew with the next activation", self._checksum)
            return None

    def active(self) -> int:
        """Return the version that the last activation chose; the base when there was none."""
        entries = self.entries()
        return entries[-1].active if entries else BASE_VERSION

    def append(self, active: int, by: str, who: str | None = None, note: str | None = None) -> ActivationEntry:
        """Record an activation and wait until it is on the disk. Call it under `locked`.

        Raises `OSError` where the disk does not take it; then it never happened, unless the message says that it is
        committed to a bucket.
        """
        entry = ActivationEntry(active=active, previous=self.active(), at=now(), by=by, who=who, note=note)
        content = self._path.read_bytes() if self._path.exists() else b""
        whole_lines = content[: content.rfind(b"\n") + 1]
        line = entry.model_dump_json().encode() + b"\n"
        self._commits.append(self._path, len(whole_lines), line)
        written = StoredFile(sha256=hashlib.sha256(whole_lines + line).hexdigest(), bytes=len(whole_lines + line))
        try:
            self._commits.write(self._checksum, text_of(written))
        except OSError as error:  # the line is there, so it has happened
            logger.warning("%s does not cover the last activation: %s", self._checksum, error)
        return entry

    def trail(self) -> list[int]:
        """Return the versions that led to the active one, which is the last.

        An activation lengthens the trail, a rollback cuts it back to where it went. So rollbacks one after another go
        further and further back, and never forth again.
        """
        trail = [BASE_VERSION]
        for entry in self.entries():
            if entry.by == ROLLBACK and entry.active in trail:
                del trail[len(trail) - trail[::-1].index(entry.active) :]
            elif entry.active != trail[-1]:
                trail.append(entry.active)
        return trail


def _state_of(file: IO[bytes]) -> tuple[int, int, int]:
    """Return what a file is known by as it is now."""
    status = os.fstat(file.fileno())
    return status.st_ino, status.st_size, status.st_mtime_ns
