"""The activation journal: which version served when. One JSON line for each activation, oldest first.

It is the truth about what serves; Redis holds a copy of its end. Whoever publishes or activates holds its lock,
so that a decision taken on what is active still holds when it is written.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from errata.errors import CorruptArtifact
from errata.files import durable
from errata_registry.records import BASE_VERSION, now

ROLLBACK = "rollback"


class JournalEntry(BaseModel):
    """One activation. `by` is what caused it: an edit, `rollback`, or `api` where it was asked for; `who` asked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    active: int
    previous: int
    at: datetime
    by: str
    who: str | None = None


class Journal:
    """The journal file and its lock, which holds between threads and between processes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.RLock()
        self._depth = 0

    @classmethod
    def of(cls, home: Path) -> Journal:
        """The journal of a home folder."""
        return cls(home / "activations.jsonl")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep everyone else from publishing and activating. May be entered again by the thread that holds it."""
        with self._threads:
            if self._depth:
                yield
                return
            descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._depth = 1
                yield
            finally:
                self._depth = 0
                os.close(descriptor)

    def entries(self) -> tuple[JournalEntry, ...]:
        """All activations, oldest first. A torn last line, left by a crash, never happened.

        Raises:
            CorruptArtifact: a line before the last cannot be read.
        """
        content = self._path.read_bytes() if self._path.exists() else b""
        whole_lines = content[: content.rfind(b"\n") + 1].splitlines()
        try:
            return tuple(JournalEntry.model_validate_json(line) for line in whole_lines)
        except ValidationError as error:
            raise CorruptArtifact(f"the activation journal {self._path} cannot be read: {error}") from error

    def active(self) -> int:
        """The version that the last activation chose; the base when there was none."""
        entries = self.entries()
        return entries[-1].active if entries else BASE_VERSION

    def append(self, active: int, by: str, who: str | None = None) -> JournalEntry:
        """Record an activation and wait until it is on the disk. Call it under `locked`."""
        entry = JournalEntry(active=active, previous=self.active(), at=now(), by=by, who=who)
        line = json.dumps(entry.model_dump(mode="json")) + "\n"
        with self._path.open("ab+") as file:
            file.seek(0)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        durable.sync(self._path.parent)
        return entry

    def trail(self) -> list[int]:
        """The versions that led to the active one, which is the last: an activation lengthens the trail, a
        rollback cuts it back to where it went. So rollbacks one after another go further and further back,
        and never forth again."""
        trail = [BASE_VERSION]
        for entry in self.entries():
            if entry.by == ROLLBACK and entry.active in trail:
                del trail[len(trail) - trail[::-1].index(entry.active) :]
            elif entry.active != trail[-1]:
                trail.append(entry.active)
        return trail
