"""The activation journal: which version served when. One JSON line for each activation, oldest first.

It is the truth about what serves. Whoever publishes or activates holds its lock, so that a decision taken on what is
active still holds when it is written.
"""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from errata_client.records import BASE_VERSION, ActivationEntry
from errata_client.records.wordings import in_words

from errata.errors import CorruptArtifact
from errata.files import durable
from errata.files.lock import Lock
from errata_registry.stored import now

ROLLBACK = "rollback"


class Journal:
    """The journal file and its lock, which holds between threads and between processes."""

    def __init__(self, home: Path) -> None:
        self._path = home / "activations.jsonl"
        self._lock = Lock(home / "activations.lock")
        self._read: tuple[tuple[int, int, int], tuple[ActivationEntry, ...]] = (0, 0, 0), ()

    def locked(self) -> AbstractContextManager[None]:
        """Keep everyone else from publishing and activating. The thread that holds the lock may enter it again."""
        return self._lock.held()

    def entries(self) -> tuple[ActivationEntry, ...]:
        """Return all activations, oldest first. A torn last line, left by a crash, never happened.

        Raises `CorruptArtifact` where a line before the last cannot be read.
        """
        try:
            with self._path.open("rb") as file:  # on a network file system, opening asks how the file is now
                status = os.fstat(file.fileno())
                state = (status.st_ino, status.st_size, status.st_mtime_ns)
                if state == self._read[0]:
                    return self._read[1]
                content = file.read()
        except FileNotFoundError:
            return ()
        whole_lines = content[: content.rfind(b"\n") + 1].splitlines()
        try:
            with in_words(ActivationEntry):
                entries = tuple(ActivationEntry.model_validate_json(line, extra="ignore") for line in whole_lines)
        except ValueError as error:
            raise CorruptArtifact(f"the activation journal {self._path} cannot be read: {error}") from error
        self._read = state, entries
        return entries

    def active(self) -> int:
        """Return the version that the last activation chose; the base when there was none."""
        entries = self.entries()
        return entries[-1].active if entries else BASE_VERSION

    def append(self, active: int, by: str, who: str | None = None) -> ActivationEntry:
        """Record an activation and wait until it is on the disk. Call it under `locked`."""
        entry = ActivationEntry(active=active, previous=self.active(), at=now(), by=by, who=who)
        with self._path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
            file.write(entry.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        durable.sync(self._path.parent)
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
