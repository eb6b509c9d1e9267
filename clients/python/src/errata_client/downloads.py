"""A file on its way from the service to the disk: whole under its name, or not there at all."""

import errno
import os
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from errata_client.answers import check_status
from errata_client.errors import ConnectionFailed, StatusError, UnexpectedAnswer
from errata_client.retries import Attempts


class Download:
    """A file of one `kind` that is written beside `to` and takes that name at the end. Use it as a context manager.

    A file that is there under that name stays as it is until the new one is whole. Raises `OSError` where nothing can
    be written there, before anything is asked for.
    """

    def __init__(self, to: str | PathLike[str], kind: str, attempts: Attempts) -> None:
        self._to = Path(to)
        self._kind = kind
        self._attempts = attempts
        self._written = False

    def __enter__(self) -> Self:
        if self._to.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._to))
        self._scratch = self._to.with_name(f".{self._to.name}.{os.urandom(4).hex()}")
        self._file = self._scratch.open("xb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._scratch.unlink(missing_ok=True)

    def open(self, response: httpx.Response) -> None:
        """Look at the head of the answer. Raises `StatusError` or `UnexpectedAnswer`."""
        check_status(response)
        kind = response.headers.get("Content-Type", "")
        if not kind.startswith(self._kind):
            raise UnexpectedAnswer(f"{response.url} answered {kind or 'no content type'}, not {self._kind}")

    def write(self, chunk: bytes) -> None:
        """Append a piece of the file."""
        self._written = True
        self._file.write(chunk)

    def finish(self) -> Path:
        """Give the file its name, once all of it is on the disk. httpx has seen that it is as long as was announced."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._scratch.replace(self._to)
        return self._to

    def pause_after(self, error: ConnectionFailed | StatusError) -> float:
        """Seconds to sleep before asking again. Raises `error` where that is given up, or a part is written already."""
        if self._written:
            raise error
        return self._attempts.pause_after(error)
