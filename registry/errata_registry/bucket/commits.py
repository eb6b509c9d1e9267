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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from errata.files.disk import Refused
from errata.files.lock import Lock
from errata_registry.bucket.home_copy import FETCHED_LATER, HomeCopy, leaving_of, position_of
from errata_registry.bucket.log import ARCHIVES, OBJECTS, Change, Entry, Log
from errata_registry.bucket.objects import Bucket
from errata_registry.bucket.patience import deadline, patiently, pause
from errata_registry.commits import FOLDER, Commits
from errata_registry.settings import Settings
from errata_registry.stored import StoredFile

DONE = "; it is committed, and only this folder lags behind"
UNKNOWN = "; whether this was done is not known until it answers"
MOST_TEXT = 32_768  # bytes of a file that an entry holds itself
AGE_OF_THE_UNNAMED = timedelta(days=7)  # by then nobody is about to commit what they uploaded
REMOVED_AT_ONCE = 200  # objects; the next hour goes on

logger = logging.getLogger(__name__)


def commits_of(settings: Settings) -> Commits:
    """Return how the processes of a home folder commit.

    Raises:
        ValueError: the bucket cannot be used, or the folder is no copy of it, or may have gone to one.
        OSError: the bucket does not answer.
    """
    if position_of(settings.home) is None and (leaving := leaving_of(settings.home)):
        raise ValueError(
            f"{settings.home} is on its way to the bucket {leaving.bucket}, which may have it already: run `errata "
            "to-bucket` again with ERRATA_BUCKET set to that"
        )
    if settings.bucket is not None:
        return BucketCommits(settings.home, settings.bucket)
    if position := position_of(settings.home):
        raise ValueError(f"{settings.home} is a copy of the bucket {position.bucket}: set ERRATA_BUCKET to that")
    return FOLDER


class BucketCommits(Commits):
    """The commits of a home whose machines share a bucket. Processes of one machine may share the folder, too."""

    shares_a_folder = False

    def __init__(self, home: Path, url: str) -> None:
        """Raises as `commits_of`."""
        self._bucket = Bucket(url)
        self._log, self._copy = Log(self._bucket), HomeCopy(home, self._bucket)
        self._decider: int | None = None  # the thread that holds the lock of decisions
        self._decided = 0  # the last decision that it knows of
        position = position_of(home)
        if position is None and (home / "base.json").exists():
            raise ValueError(
                f"{home} is a home of its own and no copy of {url}: `errata to-bucket` takes it there with all that it "
                "has, while none of its processes runs; or give ERRATA_HOME an empty folder"
            )
        if position is not None and position.bucket != url:
            raise ValueError(f"{home} is a copy of {position.bucket}, not of {url}: give ERRATA_HOME an empty folder")
        self._copy.begin()
        patiently(self._bucket.require_conditional_puts)
        patiently(self.catch_up)

    # Reading

    def catch_up(self) -> None:
        with self._copy.lock.held():
            for _ in self._copy.read_on():
                pass

    def fetch(self, path: Path) -> None:
        self._copy.fetch(path)

    def share(self, path: Path) -> None:
        if self._copy.noted(path) is None:
            before, change = StoredFile.of(path), self._put(path, path)
            if change.file != before:
                self._drop_objects([change])
                raise Refused(errno.EAGAIN, f"{path} changed while it was shared")
            self._commit([change], lambda: None, only_if=lambda: self._copy.noted(path) is None)

    def size(self, path: Path) -> int:
        change = self._copy.noted(path)
        return change.file.bytes if change and change.file else 0

    @contextmanager
    def deciding(self, lock: Lock) -> Iterator[None]:
        with lock.held():
            if self._decider is not None:  # this thread has it already
                yield
                return
            patiently(self.catch_up)
            self._decider, self._decided = threading.get_ident(), self._copy.position().decision
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
        change = Change(path=self._copy.called(path), text=line.decode(), after=num_bytes)
        self._commit([change], lambda: FOLDER.append(path, num_bytes, line))

    def place(self, folder: Path, path: Path) -> bool:
        changes = self._put_all([(path / file.name, file) for file in sorted(folder.iterdir())])
        place = self._copy.called(path)
        return self._commit(
            changes, lambda: _require(FOLDER.place(folder, path)), only_if=lambda: not path.exists(), folder=place
        )

    def move(self, source: Path, path: Path) -> None:
        self._commit([self._put(path, source)], lambda: FOLDER.move(source, path))

    def remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            change = self._copy.noted(path)
            self._commit([Change(path=self._copy.called(path))], lambda: FOLDER.remove(path))
            if change:
                self._drop_objects([change])

    def remove_if(self, path: Path, is_past: Callable[[Path], bool]) -> None:
        with suppress(FileNotFoundError):
            self._commit(
                [Change(path=self._copy.called(path))], lambda: FOLDER.remove(path), only_if=lambda: is_past(path)
            )

    def remove_folder(self, folder: Path, scratch: Path) -> None:
        changes = [Change(path=self._copy.called(path)) for path in sorted(folder.rglob("*")) if path.is_file()]
        self._commit(changes, lambda: FOLDER.remove_folder(folder, scratch), gone=self._copy.called(folder))

    def remove_unnamed(self) -> None:
        with self._copy.lock.held():
            self.catch_up()
            noted = self._copy.noted_objects()
        found = self._bucket.names_older(OBJECTS, AGE_OF_THE_UNNAMED)
        unnamed = [name for name in found if _may_be_unnamed(name) and name not in noted]
        if unnamed:  # by the notes of this folder, which may have lost some; what is deleted is gone for all machines
            named = self._log.named_objects()
            for name in [name for name in unnamed if name not in named][:REMOVED_AT_ONCE]:
                self._bucket.delete(name)
                logger.info("%s, which no commit names any more, is gone from the bucket", name)

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
        with self._copy.lock.held():
            number = self._take_number(entry, only_if)
            if number is None:
                return False
            if self._copy.position().entry < number:
                self._do_here(number, entry, then)
            if deciding:
                self._decided = number
        return True

    def _take_number(self, entry: Entry, only_if: Callable[[], bool]) -> int | None:
        """Put an entry into the log; return its number, None where it is not to be done any more."""
        until, tried = deadline(), 0  # the number that it may have, or may yet take
        while True:
            try:
                for number, read in self._copy.read_on():
                    if read.id == entry.id:  # its answer was lost
                        return number
                at = self._copy.position()
                if at.entry >= tried:
                    tried = 0  # another one has that
                if not only_if():
                    self._drop_objects(entry.changes)
                    return None
                if entry.decision and at.decision != self._decided:
                    raise _Overtaken(errno.EAGAIN, "another machine decided at the same moment what serves")
                tried = at.entry + 1
                if self._log.put(tried, entry):
                    return tried
            except _Overtaken:
                self._drop_objects(entry.changes)
                raise
            except OSError as error:
                may_pass = isinstance(error, Refused)  # or else it is the disk here, which cannot be read on to
                if may_pass and time.monotonic() <= until:
                    pause()
                    continue
                if tried:
                    raise Refused(error.errno or errno.EIO, f"{_words_of(error)}{UNKNOWN}") from error
                self._drop_objects(entry.changes)
                raise

    def _do_here(self, number: int, entry: Entry, then: Callable[[], object]) -> None:
        """Do here what is committed. Where the disk does not take it, reading on does it again once it does."""
        try:
            then()
            self._copy.move_to(number, entry)
        except OSError as error:
            raise Refused(error.errno or errno.EIO, f"{_words_of(error)}{DONE}", error.filename) from error

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
        called = self._copy.called(path)
        if path.suffix != FETCHED_LATER:
            held = content if isinstance(content, bytes) else content.read_bytes()
            with suppress(UnicodeDecodeError):
                if len(held) <= MOST_TEXT:
                    return Change(path=called, text=held.decode())
        name = f"{OBJECTS}{called}/{secrets.token_hex(8)}"
        patiently(lambda: self._bucket.upload(name, content))
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


def _may_be_unnamed(name: str) -> bool:
    """Return True for objects of large files, and of whole homes; others stay, as the log goes on naming them."""
    folder = Path(name).parent
    return folder.suffix == FETCHED_LATER or folder == Path(OBJECTS, ARCHIVES)


class _Overtaken(Refused):
    """What was decided on does not hold any more."""


def _words_of(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _require(placed: bool) -> None:
    if not placed:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
