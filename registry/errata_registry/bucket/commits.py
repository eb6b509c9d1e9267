"""Commits to a bucket: what counts is an entry of its log first, and then lies in the home folder of each machine.

So the home folder is a copy, which all is read from and which follows the log. A commit is decided by the conditional
put of the log's next entry. Whoever finds the number taken reads on, looks whether what it wanted still holds, and
takes the next number. Whoever gets no answer tries the same number again: it is taken in the end, by this entry or by
another, and then nothing that is still on its way can take it. Large files are objects of their own; updates of
versions are fetched when they are first needed.
"""

import errno
import hashlib
import logging
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from errata_client.records import Record

from errata.files import durable
from errata.files.disk import Refused
from errata.files.lock import Lock
from errata_registry.bucket.log import Change, Entry, Log
from errata_registry.bucket.objects import Bucket
from errata_registry.commits import FOLDER, Commits
from errata_registry.settings import Settings
from errata_registry.stored import StoredFile, read_record, text_of

PATIENCE_S = 10.0  # with a bucket that does not answer
PAUSE_S = 0.2
DONE = "; it is committed, and only this folder lags behind"
UNKNOWN = "; whether this was done is not known until it answers"
MOST_TEXT = 32_768  # bytes of a file that an entry holds itself
FETCHED_LATER = ".safetensors"

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


def commits_of(settings: Settings) -> Commits:
    """Return how the processes of a home folder commit.

    Raises:
        ValueError: the bucket cannot be used, or the folder is no copy of it.
        OSError: the bucket does not answer.
    """
    return FOLDER if settings.bucket is None else BucketCommits(settings.home, settings.bucket)


class _Position(Record):
    """How far a home folder follows the log of its bucket: to which entry, and the last decision up to there."""

    bucket: str
    entry: int = 0
    decision: int = 0


class BucketCommits(Commits):
    """The commits of a home whose machines share a bucket. Processes of one machine may share the folder, too."""

    shares_a_folder = False

    def __init__(self, home: Path, url: str) -> None:
        """Raises as `commits_of`."""
        self._home, self._bucket = home, Bucket(url)
        self._log = Log(self._bucket)
        self._folder = home / "bucket"
        self._lock = Lock(self._folder / "lock")
        self._decider: int | None = None  # the thread that holds the lock of decisions
        self._decided = 0  # the last decision that it knows of
        if (home / "base.json").exists() and not self._position_file.exists():
            raise ValueError(f"{home} is a home of its own and no copy of {url}: give ERRATA_HOME an empty folder")
        if (known := self._position().bucket) != url:
            raise ValueError(f"{home} is a copy of {known}, not of {url}: give ERRATA_HOME an empty folder")
        for folder in (self._folder, home / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        with self._lock.held():
            if not self._position_file.exists():  # from here on this folder is a copy
                durable.write(self._position_file, text_of(self._position()))
        self._patiently(self._bucket.require_conditional_puts)
        self._patiently(self.catch_up)

    # Reading

    def catch_up(self) -> None:
        with self._lock.held():
            self._read_on({})

    def fetch(self, path: Path) -> None:
        if path.exists():
            return
        with suppress(FileNotFoundError):
            change = read_record(self._noted(path), Change)
            scratch = durable.scratch_beside(path)
            try:
                if change.object and self._patiently(lambda: self._bucket.download(change.object or "", scratch)):
                    if change.file:
                        change.file.require(scratch, change.object)
                    durable.sync(scratch)
                    with self._lock.held():
                        if read_record(self._noted(path), Change) == change:  # it was not dropped meanwhile
                            scratch.replace(path)
            finally:
                scratch.unlink(missing_ok=True)

    def size(self, path: Path) -> int:
        with suppress(FileNotFoundError):
            if file := read_record(self._noted(path), Change).file:
                return file.bytes
        return 0

    @contextmanager
    def deciding(self, lock: Lock) -> Iterator[None]:
        with lock.held():
            if self._decider is not None:  # this thread has it already
                yield
                return
            self._patiently(self.catch_up)
            self._decider, self._decided = threading.get_ident(), self._position().decision
            try:
                yield
            finally:
                self._decider = None

    # Writing

    def write(self, path: Path, content: str) -> None:
        self._commit([self._put(path, content.encode())], lambda: FOLDER.write(path, content))

    def write_once(self, path: Path, content: str, beside: Sequence[Path] = ()) -> bool:
        changes = self._put_all([*((file, file) for file in beside), (path, content.encode())])
        return self._commit(changes, lambda: FOLDER.write(path, content), only_if=lambda: not path.exists())

    def link(self, source: Path, path: Path) -> None:
        if not path.exists():
            change = self._put(path, source)
            self._commit([change], lambda: FOLDER.link(source, path), only_if=lambda: not path.exists())

    def append(self, path: Path, num_bytes: int, line: bytes) -> None:
        change = Change(path=self._called(path), text=line.decode(), after=num_bytes)
        self._commit([change], lambda: FOLDER.append(path, num_bytes, line))

    def place(self, folder: Path, path: Path) -> bool:
        changes = self._put_all([(path / file.name, file) for file in sorted(folder.iterdir())])
        place = self._called(path)
        return self._commit(
            changes, lambda: _require(FOLDER.place(folder, path)), only_if=lambda: not path.exists(), folder=place
        )

    def move(self, source: Path, path: Path) -> None:
        self._commit([self._put(path, source)], lambda: FOLDER.move(source, path))

    def remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            noted = self._noted(path)
            change = read_record(noted, Change) if noted.exists() else None
            self._commit([Change(path=self._called(path))], lambda: FOLDER.remove(path))
            if change and change.object:
                self._drop_objects([change])

    def remove_if(self, path: Path, is_past: Callable[[Path], bool]) -> None:
        with suppress(FileNotFoundError):
            self._commit([Change(path=self._called(path))], lambda: FOLDER.remove(path), only_if=lambda: is_past(path))

    def remove_folder(self, folder: Path, scratch: Path) -> None:
        changes = [Change(path=self._called(path)) for path in sorted(folder.rglob("*")) if path.is_file()]
        self._commit(changes, lambda: FOLDER.remove_folder(folder, scratch), gone=self._called(folder))

    # A commit

    def _commit(
        self,
        changes: Sequence[Change],
        then: Callable[[], object],
        *,
        only_if: Callable[[], bool] = lambda: True,
        folder: str | None = None,
        gone: str | None = None,
    ) -> bool:
        """Commit changes, and then do the same in the folder here; return False where it is not to be done any more.

        Args:
            then: does it in the folder.
            only_if: asked when the folder has all that was committed before.

        Raises `OSError` where it is not done, or where that is not known yet: whoever reads on will see it. So does a
        disk that does not take what is committed; its message says so.
        """
        deciding = self._decider == threading.get_ident()
        entry = Entry(changes=tuple(changes), decision=deciding, folder=folder, gone=gone)
        until, unknown = time.monotonic() + PATIENCE_S, False
        read: dict[str, int] = {}
        with self._lock.held():
            while True:
                try:
                    self._read_on(read)
                    if number := read.get(entry.id, 0):  # its answer was lost
                        break
                    if not only_if():
                        self._drop_objects(changes)
                        return False
                    at = self._position()
                    if deciding and at.decision != self._decided:
                        self._drop_objects(changes)
                        raise _Overtaken(errno.EAGAIN, "another machine decided at the same moment what serves")
                    number, unknown = at.entry + 1, True
                    if self._log.put(number, entry):
                        self._do_here(number, entry, then)
                        break
                    unknown = False  # it is another one's
                except Refused as error:
                    if isinstance(error, _Overtaken):
                        raise
                    if time.monotonic() > until:
                        if not unknown:
                            self._drop_objects(changes)
                        raise Refused(errno.EIO, f"{error.strerror}{UNKNOWN if unknown else ''}") from error
                    time.sleep(PAUSE_S * (1 + secrets.randbelow(100) / 100))
            if deciding:
                self._decided = number
        return True

    def _do_here(self, number: int, entry: Entry, then: Callable[[], object]) -> None:
        """Do here what is committed. Where the disk does not take it, reading on does it again once it does."""
        try:
            then()
            self._note(entry)
            self._move_to(number, entry)
        except OSError as error:
            error.strerror = f"{error.strerror}{DONE}"
            raise

    def _put_all(self, contents: Sequence[tuple[Path, bytes | Path]]) -> list[Change]:
        """Return the change of each, or upload none."""
        changes: list[Change] = []
        try:
            for path, content in contents:
                changes.append(self._put(path, content))
        except OSError:
            self._drop_objects(changes)
            raise
        return changes

    def _put(self, path: Path, content: bytes | Path) -> Change:
        """Return the change that puts content at a path, which is uploaded where the entry is not to hold it."""
        called = self._called(path)
        if path.suffix != FETCHED_LATER:
            held = content if isinstance(content, bytes) else content.read_bytes()
            with suppress(UnicodeDecodeError):
                if len(held) <= MOST_TEXT:
                    return Change(path=called, text=held.decode())
        name = f"files/{called}/{secrets.token_hex(8)}"
        self._patiently(lambda: self._bucket.upload(name, content))
        if isinstance(content, Path):
            return Change(path=called, object=name, file=StoredFile.of(content))
        return Change(
            path=called, object=name, file=StoredFile(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        )

    def _drop_objects(self, changes: Sequence[Change]) -> None:
        """Take away the objects of what was not committed, or counts no more."""
        for change in changes:
            if change.object:
                try:
                    self._bucket.delete(change.object)
                except OSError as error:
                    logger.warning("%s stays in the bucket: %s", change.object, error)

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask the bucket for what may be asked twice, until it answers. Raises `OSError` when patience is over."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask()
            except Refused:
                if time.monotonic() > until:
                    raise
                time.sleep(PAUSE_S)

    # Following the log

    def _read_on(self, read: dict[str, int]) -> None:
        """Do in the folder what was committed since, and add the numbers of those entries to `read`, by their ids. Call
        it under the lock."""
        for number, entry in self._log.after(self._position().entry):
            self._apply(entry)
            self._note(entry)
            self._move_to(number, entry)
            read[entry.id] = number

    def _apply(self, entry: Entry) -> None:
        """Do in the folder what an entry says. Doing it again changes nothing."""
        if entry.gone is not None:
            if (place := self._home / entry.gone).exists():
                FOLDER.remove_folder(place, self._home / "tmp" / f"gone-{entry.id}")
            return
        if entry.folder is not None:
            place = self._home / entry.folder
            if place.exists():
                return
            scratch = Path(tempfile.mkdtemp(prefix="placed-", dir=self._home / "tmp"))
            for change in entry.changes:
                self._write_here(change, scratch / Path(change.path).name, entry)
            place.parent.mkdir(parents=True, exist_ok=True)
            FOLDER.place(scratch, place)
            return
        for change in entry.changes:
            path = self._home / change.path
            if change.text is None and change.object is None:
                path.unlink(missing_ok=True)
                if path.parent.parent != self._home:
                    with suppress(OSError):  # it is not empty, or not there
                        path.parent.rmdir()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._write_here(change, path, entry)

    def _write_here(self, change: Change, path: Path, entry: Entry) -> None:
        if change.after is not None:
            path.touch()
            FOLDER.append(path, change.after, (change.text or "").encode())
            return
        if change.object is not None and path.suffix == FETCHED_LATER:
            path.unlink(missing_ok=True)  # an older one
            return
        scratch = durable.scratch_beside(path)
        try:
            if change.text is not None:
                scratch.write_bytes(change.text.encode())
            else:
                assert change.object is not None and change.file is not None
                self._bucket.download(change.object, scratch)
                change.file.require(scratch, change.object)
            os.utime(scratch, (entry.at.timestamp(),) * 2)
            durable.sync(scratch)
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
        durable.sync(path.parent)

    def _note(self, entry: Entry) -> None:
        """Note where the large files of an entry are to be fetched from."""
        for change in entry.changes:
            if change.path.endswith(FETCHED_LATER):
                noted = self._noted(self._home / change.path)
                if change.object is None:
                    noted.unlink(missing_ok=True)
                else:
                    noted.parent.mkdir(parents=True, exist_ok=True)
                    durable.write(noted, text_of(change))

    def _noted(self, path: Path) -> Path:
        return self._folder / "objects" / f"{self._called(path)}.json"

    @property
    def _position_file(self) -> Path:
        return self._folder / "position.json"

    def _position(self) -> _Position:
        try:
            return read_record(self._position_file, _Position)
        except FileNotFoundError:
            return _Position(bucket=self._bucket.url)

    def _move_to(self, number: int, entry: Entry) -> None:
        decision = number if entry.decision else self._position().decision
        durable.write(self._position_file, text_of(_Position(bucket=self._bucket.url, entry=number, decision=decision)))

    def _called(self, path: Path) -> str:
        return path.relative_to(self._home).as_posix()


class _Overtaken(Refused):
    """What was decided on does not hold any more."""


def _require(placed: bool) -> None:
    if not placed:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
