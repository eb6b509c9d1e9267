"""The log of a bucket: what was committed, in one order for all machines.

An entry is an object `log/<number>`, and its number is taken by a conditional put: it is committed at the moment at
which it has its name, all of it or nothing. Numbers follow each other without a gap, and no entry is ever changed.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Self

from errata_client.records import Record
from pydantic import Field

from errata.errors import CorruptArtifact, NewerHome
from errata.files.checksums import checked
from errata_registry.bucket.objects import Bucket
from errata_registry.stored import StoredFile, now, text_of

FORM = 1
FOLDER = "log/"
OBJECTS = "files/"  # where the objects lie that entries name
ARCHIVES = "home"  # below it, those that are archives
READ_AT_ONCE = 16  # requests


class Change(Record):
    """What becomes of one file of the home folder; without `text` and `object` it is taken away.

    Attributes:
        path: where it lies in the home folder.
        text: what it holds, where that is little and text.
        after: the number of bytes of the file that `text` is put behind; None where it is the whole file.
        object: the name of the object that has what it holds; `file` says what that must be.
    """

    path: str
    text: str | None = None
    after: int | None = None
    object: str | None = None
    file: StoredFile | None = None


class Archive(Record):
    """An object that is a tar of files, each named by the path where it is to lie in the home folder."""

    object: str
    file: StoredFile


class _Form(Record):
    format: int = FORM


class Entry(Record):
    """What is committed in one step.

    Attributes:
        format: its form; what programs of an older form would get wrong by passing it over has a form of its own.
        id: what its writer knows it by whose answer was lost.
        decision: whether it rests on what serves, on the names of versions, or on which versions there are.
        folder: the folder that comes to be with all these files at once.
        gone: the folder that is taken away with all that is in it, these files and others.
        archive: files that come to be before the changes.
    """

    format: int = FORM
    id: str = Field(default_factory=lambda: secrets.token_hex(12))
    at: datetime = Field(default_factory=now)
    decision: bool = False
    folder: str | None = None
    gone: str | None = None
    archive: Archive | None = None
    changes: tuple[Change, ...]

    @classmethod
    def read(cls, content: bytes, called: str) -> Self:
        """Raises `CorruptArtifact`, and `NewerHome` for a form that this program does not know."""
        try:
            said = checked(content)
            form = _Form.model_validate_json(said, extra="ignore").format  # alone: the rest may be of another shape
            if form > FORM:
                raise NewerHome(
                    f"{called} has form {form}, and this program knows forms up to {FORM}: a newer Errata wrote it, "
                    "and only such a one can follow this bucket"
                )
            return cls.model_validate_json(said, extra="ignore")
        except ValueError as error:
            raise CorruptArtifact(f"{called} cannot be read: {error}") from error


class Log:
    """The entries of a bucket, from 1 on."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def put(self, number: int, entry: Entry) -> bool:
        """Commit an entry under a number; False where that is taken. Raises `OSError` where the answer is missing."""
        return self._bucket.put_new(_name(number), text_of(entry).encode())

    def get(self, number: int) -> Entry | None:
        """Return an entry, None while there is none. Raises `OSError`, `CorruptArtifact`."""
        content = self._bucket.get(_name(number))
        return None if content is None else Entry.read(content, f"{self._bucket.url}/{_name(number)}")

    def after(self, number: int) -> Iterator[tuple[int, Entry]]:
        """Yield the entries that follow a number, none left out, with their numbers. Raises as `get`.

        Where there is nothing new, that costs one request. `READ_AT_ONCE` are read ahead of the one that is yielded.
        """
        first = self.get(number + 1)
        if first is None:
            return
        listed = self._bucket.names_after(FOLDER, _name(number + 1))
        yield number + 1, first
        numbers = range(number + 2, number + 2 + len(listed))
        with ThreadPoolExecutor(READ_AT_ONCE) as threads:
            for start in range(0, len(numbers), READ_AT_ONCE):
                some = numbers[start : start + READ_AT_ONCE]
                for followed, entry in zip(some, threads.map(self.get, some), strict=True):
                    if entry is None:
                        raise CorruptArtifact(f"{self._bucket.url}/{_name(followed)} is gone; put it back from a copy")
                    yield followed, entry

    def named_objects(self) -> set[str]:
        """Return the names of the objects that hold something once all was done that the log says; it is read through.

        Raises as `get`.
        """
        archives, named = set[str](), dict[str, str]()  # of each path of the home folder, its object
        for _, entry in self.after(0):
            if entry.archive is not None:
                archives.add(entry.archive.object)
            for change in entry.changes:
                named.pop(change.path, None)
                if change.object is not None:
                    named[change.path] = change.object
            if entry.gone is not None:
                named = {path: name for path, name in named.items() if not path.startswith(f"{entry.gone}/")}
        return archives.union(named.values())


def _name(number: int) -> str:
    return f"{FOLDER}{number:012d}"
