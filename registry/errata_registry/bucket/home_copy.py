"""The home folder of a machine as a copy of a bucket: how far it follows the log, and what becomes of an entry in it.

Updates of versions are fetched when they are first needed; until then the folder notes which object each one is.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from errata_client.records import Record

from errata.export.archive import find_files, read_pieces
from errata.files import durable
from errata.files.lock import Lock
from errata_registry.bucket.log import Archive, Change, Entry, Log
from errata_registry.bucket.objects import Bucket
from errata_registry.bucket.patience import patiently
from errata_registry.commits import FOLDER
from errata_registry.stored import read_record, text_of

FETCHED_LATER = ".safetensors"


class Position(Record):
    """How far a home folder follows the log of its bucket: to which entry, and the last decision up to there."""

    bucket: str
    entry: int = 0
    decision: int = 0


class Leaving(Record):
    """The mark of a home folder that may be in a bucket already, and does not know it yet.

    Attributes:
        entry: the id of the entry that has it.
    """

    bucket: str
    entry: str


def position_of(home: Path) -> Position | None:
    """Return how far a home folder follows a bucket, None where it is a copy of none. Raises `CorruptArtifact`."""
    try:
        return read_record(home / "bucket" / "position.json", Position)
    except FileNotFoundError:
        return None


def leaving_of(home: Path) -> Leaving | None:
    """Return where a home folder may have gone that is no copy yet. Raises `CorruptArtifact`."""
    try:
        return read_record(leaving_mark(home), Leaving)
    except FileNotFoundError:
        return None


def leaving_mark(home: Path) -> Path:
    """Return where the mark of a home folder lies that may have gone to a bucket."""
    return home / "bucket" / "leaving.json"


class HomeCopy:
    """A home folder that follows the log of a bucket. Whoever reads on or moves it holds `lock`."""

    def __init__(self, home: Path, bucket: Bucket) -> None:
        self._home, self._bucket = home, bucket
        self._log = Log(bucket)
        self._folder = home / "bucket"
        self.lock = Lock(self._folder / "lock")

    def begin(self) -> None:
        """See to it that the folder is a copy from here on."""
        for folder in (self._folder, self._home / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        with self.lock.held():
            if position_of(self._home) is None:
                self._write(self.position())

    def position(self) -> Position:
        return position_of(self._home) or Position(bucket=self._bucket.url)

    def called(self, path: Path) -> str:
        """Return the path of a file inside of the home folder, which is the same on all machines."""
        return path.relative_to(self._home).as_posix()

    def read_on(self) -> Iterator[tuple[int, Entry]]:
        """Do in the folder what was committed since; yield each entry once that is done, with its number."""
        for number, entry in self._log.after(self.position().entry):
            self._apply(entry)
            self.move_to(number, entry)
            yield number, entry

    def move_to(self, number: int, entry: Entry) -> None:
        """Note that the folder has what an entry says."""
        for change in entry.changes:
            if change.path.endswith(FETCHED_LATER):
                self._note(change)
        decision = number if entry.decision else self.position().decision
        self._write(Position(bucket=self._bucket.url, entry=number, decision=decision))

    # Files that are fetched later

    def noted(self, path: Path) -> Change | None:
        """Return the change that put a large file where it lies, or is to lie; None where there is none."""
        return self._noted(self.called(path))

    def noted_objects(self) -> set[str]:
        """Return the names of the objects that large files are, or are to be fetched from."""
        notes = (read_record(path, Change) for path in (self._folder / "objects").rglob("*.json"))
        return {change.object for change in notes if change.object is not None}

    def fetch(self, path: Path) -> None:
        """Fetch a large file, unless it is here, or nowhere."""
        if path.exists() or (change := self.noted(path)) is None or change.object is None:
            return
        name, scratch = change.object, durable.scratch_beside(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if patiently(lambda: self._bucket.download(name, scratch)):
                if change.file:
                    change.file.require(scratch, name)
                durable.sync(scratch)
                with self.lock.held():
                    if self.noted(path) == change and not path.exists():  # it was not dropped meanwhile, nor made here
                        scratch.replace(path)
                        durable.sync(path.parent)
        finally:
            scratch.unlink(missing_ok=True)

    def _noted(self, called: str) -> Change | None:
        try:
            return read_record(self._note_of(called), Change)
        except FileNotFoundError:
            return None

    def _note(self, change: Change) -> None:
        note = self._note_of(change.path)
        if change.object is None:
            note.unlink(missing_ok=True)
        else:
            note.parent.mkdir(parents=True, exist_ok=True)
            durable.write(note, text_of(change))

    def _note_of(self, called: str) -> Path:
        return self._folder / "objects" / f"{called}.json"

    # What an entry says. Doing it again changes nothing.

    def _apply(self, entry: Entry) -> None:
        if entry.archive is not None:
            self._unpack(entry.archive, entry)
        if entry.gone is not None:
            if (place := self._home / entry.gone).exists():
                FOLDER.remove_folder(place, self._home / "tmp" / f"gone-{entry.id}")
        elif entry.folder is not None:
            self._place(entry.folder, entry)
        else:
            for change in entry.changes:
                self._change(change, entry)

    def _place(self, folder: str, entry: Entry) -> None:
        place = self._home / folder
        if place.exists():
            return
        scratch = Path(tempfile.mkdtemp(prefix="placed-", dir=self._home / "tmp"))
        for change in entry.changes:
            self._write_change(change, scratch / Path(change.path).name, entry)
        place.parent.mkdir(parents=True, exist_ok=True)
        FOLDER.place(scratch, place)

    def _change(self, change: Change, entry: Entry) -> None:
        path = self._home / change.path
        if change.text is None and change.object is None:
            path.unlink(missing_ok=True)
            if path.parent.parent != self._home:
                with suppress(OSError):  # it is not empty, or not there
                    path.parent.rmdir()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write_change(change, path, entry)

    def _write_change(self, change: Change, path: Path, entry: Entry) -> None:
        if change.after is not None:
            path.touch()
            FOLDER.append(path, change.after, (change.text or "").encode())
            return
        if change.object is not None and path.suffix == FETCHED_LATER:
            if self._noted(change.path) not in (None, change):
                path.unlink(missing_ok=True)  # an older one; one that was made here, and not shared, stays
            return
        scratch = durable.scratch_beside(path)
        try:
            if change.text is not None:
                scratch.write_bytes(change.text.encode())
            else:
                assert change.object is not None and change.file is not None
                self._bucket.download(change.object, scratch)
                change.file.require(scratch, change.object)
            _put(scratch, path, entry)
        finally:
            scratch.unlink(missing_ok=True)
        durable.sync(path.parent)

    def _unpack(self, archive: Archive, entry: Entry) -> None:
        packed, folders = self._home / "tmp" / f"archive-{entry.id}.tar", set[Path]()
        try:
            self._bucket.download(archive.object, packed)
            archive.file.require(packed, archive.object)
            with packed.open("rb") as pieces:
                for called, (begin, num_bytes) in find_files(packed).items():
                    path = self._home / called
                    path.parent.mkdir(parents=True, exist_ok=True)
                    scratch = durable.scratch_beside(path)
                    pieces.seek(begin)
                    try:
                        with scratch.open("wb") as file:
                            file.writelines(read_pieces(pieces, num_bytes))
                        _put(scratch, path, entry)
                    finally:
                        scratch.unlink(missing_ok=True)
                    folders.update(folder for folder in path.parents if folder.is_relative_to(self._home))
        finally:
            packed.unlink(missing_ok=True)
        for folder in folders:  # before the position says that all of it is here
            durable.sync(folder)

    def _write(self, position: Position) -> None:
        durable.write(self._folder / "position.json", text_of(position))


def _put(scratch: Path, path: Path, entry: Entry) -> None:
    """Give a written file its name, and the time at which it was committed."""
    os.utime(scratch, (entry.at.timestamp(),) * 2)
    durable.sync(scratch)
    scratch.replace(path)
