"""A file on its way from the service to the disk: whole under its name, or not there at all."""

import errno
import os
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self


class Download:
    """A file that is written beside `to` and takes that name at the end. Use it as a context manager.

    A file that is there under that name stays as it is until the new one is whole. Raises `OSError` where nothing can
    be written there, before anything is asked for. `begun` is set once a part of it is written.
    """

    def __init__(self, to: str | PathLike[str]) -> None:
        self._to = Path(to)
        self.begun = False

    def __enter__(self) -> Self:
        if self._to.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._to))
        self._scratch = self._to.with_name(f".{self._to.name}.{os.urandom(4).hex()}")
        try:
            self._file = self._scratch.open("xb")
        except OSError as error:  # of the name that the caller knows
            raise OSError(error.errno, error.strerror, str(self._to)) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._scratch.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append a piece of the file."""
        self.begun = True
        self._file.write(chunk)

    def finish(self) -> Path:
        """Give the file its name, once all of it is on the disk. httpx has seen that it is as long as was announced."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._scratch.replace(self._to)
        return self._to
