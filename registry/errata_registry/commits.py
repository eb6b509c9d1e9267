"""How what counts gets into a home folder: a record, a version, a line of the journal.

Here the folder itself decides, which all processes share: a name is taken by a link or a rename. Where machines share
no folder, `bucket.commits` decides in an object store first.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from errata.files import durable
from errata.files.lock import Lock


class Commits:
    """What is put into a home folder so that all see it, whole or not at all. Safe to use from several threads.

    All methods that change something raise `OSError` where it is not done.
    """

    shares_a_folder: bool = True
    """Whether all workers find in the folder what one of them leaves there beside what is committed."""

    def catch_up(self) -> None:
        """See to it that this folder has what others committed until now."""

    def fetch(self, path: Path) -> None:
        """See to it that a large file that was committed is here, if it is anywhere."""

    def share(self, path: Path) -> None:
        """Let whoever has no such file yet `fetch` one that was made here. The first that is shared is the one."""

    def size(self, path: Path) -> int:
        """Return the bytes of a large file, also where it is not here yet; 0 where there is none."""
        return path.stat().st_size if path.exists() else 0

    @contextmanager
    def deciding(self, lock: Lock) -> Iterator[None]:
        """Hold a lock of the home folder, so that what is seen now still holds when something is committed on it."""
        with lock.held():
            yield

    def write(self, path: Path, content: str) -> None:
        """Put `content` at `path`, replacing what is there."""
        durable.write(path, content)

    def write_once(self, path: Path, content: str, beside: Sequence[Path] = ()) -> bool:
        """Put `content` at `path` unless something is there. Return True to exactly one of several writers.

        Args:
            beside: files that lie there already and are seen by everybody who sees this one.
        """
        return durable.write_once(path, content)

    def link(self, source: Path, path: Path) -> None:
        """Give a file a second name, unless something has that."""
        with suppress(FileExistsError):
            os.link(source, path)
        durable.sync(path.parent)
        durable.sync(path.parent.parent)

    def append(self, path: Path, num_bytes: int, line: bytes) -> None:
        """Put a line behind the first `num_bytes` of a file, in place of what followed them."""
        with path.open("ab", buffering=0) as file:
            file.truncate(num_bytes)
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(num_bytes)
                raise
        durable.sync(path.parent)

    def place(self, folder: Path, path: Path) -> bool:
        """Give a folder of written files its name, unless something has that: it is there whole or not at all."""
        try:
            folder.rename(path)
        except OSError:
            if not path.exists():
                raise
            return False
        durable.sync(path.parent)
        return True

    def move(self, source: Path, path: Path) -> None:
        """Put a written file at `path`, replacing what is there."""
        source.replace(path)

    def remove(self, path: Path) -> None:
        """Take a file away, if it is there."""
        path.unlink(missing_ok=True)

    def remove_if(self, path: Path, is_past: Callable[[Path], bool]) -> None:
        """Take a file away that has had its day, unless a new one has just taken its place."""
        scratch = durable.scratch_beside(path)
        with suppress(FileNotFoundError):
            path.rename(scratch)
            if not is_past(scratch):
                with suppress(FileExistsError):
                    os.link(scratch, path)
            scratch.unlink()

    def remove_folder(self, folder: Path, scratch: Path) -> None:
        """Take a folder away: at once for those who look. `scratch` is a name that nobody else uses."""
        folder.rename(scratch)
        shutil.rmtree(scratch)

    def remove_unnamed(self) -> None:
        """Remove what lies where commits are decided and no commit names. Raises `OSError` where it is not all done."""


FOLDER = Commits()
